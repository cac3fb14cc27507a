//! The program as an admin runs it: started, asked, told to stop.

mod collector;
mod program;
mod traces;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use stoa_storage::repo::jobs;
use stoa_testing::{TestDatabase, both_databases, surgery};

use crate::program::{PATIENCE, Place, text};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

both_databases! {
    async fn a_server_says_what_to_do_and_does_what_it_is_told(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        let server = place.serve();
        let greeting = server.greeting.join("\n");
        assert!(greeting.contains("create-user --admin alice"), "{greeting}");
        assert!(greeting.contains("@alice:localhost"), "{greeting}");
        assert!(greeting.contains(place.data_dir().to_str().unwrap()) || db.url().contains("sqlite"));

        // Through the running server, by a socket that no other user can open.
        assert_eq!(mode(&place.data_dir().join("stoa.sock")), 0o600);
        assert_eq!(mode(&place.data_dir()), 0o700);
        let made = place.run(&["create-user", "--admin", "alice"]);
        let said = text(&made.stdout);
        assert!(made.status.success(), "{}", text(&made.stderr));
        assert!(said.starts_with("Created @alice:localhost, an admin.\nThe password is "), "{said}");
        let again = place.run(&["create-user", "alice"]);
        assert!(!again.status.success());
        assert!(text(&again.stderr).contains("taken"), "{}", text(&again.stderr));
        let migrated = place.run(&["migrate"]);
        assert!(text(&migrated.stdout).contains("The server is running"), "{}", text(&migrated.stdout));

        assert!(server.get("clients", "/ready").contains("200 OK"));
        let metrics = server.get("metrics", "/metrics");
        for name in [
            "stoa_http_request_duration_seconds_bucket{method=\"GET\",route=\"/ready\"",
            "stoa_panics_total 0",
            "stoa_log_applied",
            "stoa_database_connections",
            "stoa_database_statements_total{kind=\"read\"}",
        ] {
            assert!(metrics.contains(name), "{name} is missing in {metrics}");
        }
        assert!(server.get("metrics", "/health").contains("200 OK"));

        assert!(server.stop() < PATIENCE);
        assert!(!place.data_dir().join("stoa.sock").exists());
    }

    async fn commands_work_without_a_server(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        let migrated = place.run(&["migrate"]);
        assert!(migrated.status.success(), "{}", text(&migrated.stderr));
        assert!(text(&migrated.stdout).contains("applied"), "{}", text(&migrated.stdout));
        let again = place.run(&["migrate"]);
        assert_eq!(text(&again.stdout), "The database is up to date.\n");

        let mut command = place.command(&["create-user", "bob", "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        child.stdin.take().expect("its input").write_all(b"secret word\n").expect("written");
        let made = child.wait_with_output().expect("an end");
        assert_eq!(text(&made.stdout), "Created @bob:localhost.\n", "{}", text(&made.stderr));
    }

    async fn a_database_belongs_to_its_server_name(db: TestDatabase) {
        let first = Place::new(db.url(), "server_name = \"one.example\"");
        assert!(first.run(&["migrate"]).status.success());
        let second = Place::new(db.url(), "server_name = \"two.example\"");
        for command in ["serve", "migrate"] {
            let refused = second.run(&[command]);
            assert!(!refused.status.success());
            let said = text(&refused.stderr);
            assert!(said.contains("one.example") && said.contains("two.example"), "{said}");
        }
    }

    async fn the_audit_log_is_checked_with_a_server_and_without(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        let checked = place.run(&["audit", "verify"]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(text(&checked.stderr).contains("run `stoa migrate`"), "{}", text(&checked.stderr));
        let log = fs::File::create(place.path("log")).expect("a log");
        let server = place.serve_logging_to(log);
        assert!(place.run(&["create-user", "alice"]).status.success());
        let checked = place.run(&["audit", "verify"]);
        assert!(checked.status.success(), "{}", text(&checked.stderr));
        let said = text(&checked.stdout);
        assert!(said.contains("Entries checked: 1\nLinks checked: 1\nHead: "), "{said}");
        server.stop();

        let log = fs::read_to_string(place.path("log")).expect("a log");
        let head = log.lines().rfind(|line| line.contains("stoa-audit-head/1")).expect("a head");
        let with_head = |head: &str| {
            let checked = place.run(&["audit", "verify", "--head", head]);
            (checked.status.code(), text(&checked.stderr))
        };
        assert_eq!(with_head(head), (Some(0), String::new()));
        let (code, said) = with_head("another line");
        assert_eq!(code, Some(1));
        assert!(said.contains("`--head` needs a whole line"), "{said}");
        let (code, said) = with_head(&head.replace("pos=", "pos=1"));
        assert_eq!(code, Some(1));
        assert!(said.contains("signature"), "{said}");

        let store = db.open().await;
        surgery::falsify_audit(&store, "alice", "carol").await;
        let (code, said) = with_head(head);
        assert_eq!(code, Some(1));
        assert!(said.contains("does not fit the entries there"), "{said}");
        surgery::falsify_audit(&store, "carol", "alice").await;
        assert_eq!(with_head(head).0, Some(0));
        surgery::cut_audit_off(&store).await;
        store.close().await;
        let (code, said) = with_head(head);
        assert_eq!(code, Some(1));
        assert!(said.contains("does not contain the exported head"), "{said}");
    }

    async fn jobs_are_looked_after_with_a_server_and_without(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        assert!(place.run(&["create-user", "alice"]).status.success());
        let store = db.open().await;
        for name in ["alice", "nobody"] {
            let parameters = format!(r#"{{"user_id":"@{name}:localhost","erase":false}}"#);
            let mut conn = store.write().await.expect("a connection");
            let job = jobs::NewJob {
                kind: "deactivate_account",
                parameters: &parameters,
                actor: "@alice:localhost",
                delay_ms: 0,
            };
            jobs::insert(&mut conn, &job, 10).await.expect("a job").expect("a job");
            conn.commit().await.expect("a commit");
        }
        store.close().await;
        let said = |arguments: &[&str]| {
            let done = place.run(arguments);
            let said = [text(&done.stdout), text(&done.stderr)].concat();
            (done.status.success(), said)
        };

        // Listing jobs does not run them.
        for _ in 0..3 {
            let (is_done, listed) = said(&["jobs", "list"]);
            assert!(is_done && listed.lines().count() == 2, "{listed}");
            assert!(listed.lines().all(|line| line.contains("waiting")), "{listed}");
        }
        let (_, shown) = said(&["jobs", "show", "1"]);
        for line in ["job         1", "asked by    @alice:localhost", "attempts    0"] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
        let (is_done, shown) = said(&["jobs", "cancel", "1"]);
        assert!(is_done && shown.contains("cancelled"), "{shown}");
        assert_eq!(said(&["jobs", "cancel", "1"]), (false, "error: job 1 has already ended\n".to_owned()));
        let (is_done, shown) = said(&["jobs", "restart", "1"]);
        assert!(is_done && shown.lines().any(|line| line == "state       waiting"), "{shown}");
        let refused = "error: job 1 has neither failed nor been cancelled\n".to_owned();
        assert_eq!(said(&["jobs", "restart", "1"]), (false, refused));
        assert!(said(&["jobs", "cancel", "1"]).0);
        assert_eq!(said(&["jobs", "show", "7"]), (false, "error: there is no job 7\n".to_owned()));

        let server = place.serve();
        let began = Instant::now();
        while !said(&["jobs", "list"]).1.contains("failed") {
            assert!(began.elapsed() < PATIENCE, "the other job does not end");
            sleep(Duration::from_millis(100));
        }
        let (_, shown) = said(&["jobs", "show", "2"]);
        assert!(shown.contains("error       there is no such user"), "{shown}");
        server.stop();
    }

    async fn versions_are_answered_soon_after_the_start(db: TestDatabase) {
        let place = Place::new(db.url(), "");
        place.serve().stop();
        let started = Instant::now();
        let server = place.serve();
        assert!(server.get("clients", "/_matrix/client/versions").contains("v1.19"));
        let elapsed = started.elapsed();
        // The target of 300 ms applies to a quiet machine and an optimized build.
        assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
        server.stop();
    }
}

#[test]
fn a_second_server_on_one_folder_is_refused() {
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let server = place.serve();
    let second = place.run(&["serve"]);
    assert!(!second.status.success());
    let said = text(&second.stderr);
    assert!(said.contains("another Stoa is running"), "{said}");
    // With another data folder it is still the same database.
    let elsewhere = Place::new(database.url(), "");
    let third = elsewhere.run(&["serve"]);
    assert!(text(&third.stderr).contains("another Stoa is running"), "{}", text(&third.stderr));
    server.stop();
}

#[test]
fn a_killed_server_does_not_prevent_a_restart() {
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let server = place.serve();
    server.signal("-KILL");
    drop(server);
    assert!(place.data_dir().join("stoa.sock").exists());
    assert!(place.run(&["create-user", "alice"]).status.success());
    place.serve().stop();
}

#[test]
fn an_interrupt_stops_the_server_too() {
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let mut server = place.serve();
    server.signal("-INT");
    assert!(server.child.wait().expect("an end").success());
}
