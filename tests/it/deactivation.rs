//! A user in many rooms deactivates their account: the job that leaves the rooms survives its node
//! and blocks nobody.

use std::{collections::BTreeMap, env, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use stoa::app::{App, Environment};
use stoa_config::Config;
use stoa_storage::repo::jobs::{JobRow, JobState};
use stoa_testing::{
    Backend, PASSWORD, SecondProcess, TestClient, TestDatabase, TestServer, run_on,
    second_process::{say, wait_for_the_end},
    surgery,
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(120);

/// A user in this many rooms, with one other user in each.
async fn fill(server: &TestServer, rooms: usize) -> (TestClient, TestClient, Vec<String>) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut made = Vec::new();
    for _ in 0..rooms {
        let room = alice.create_public_room().await;
        bob.join(&room).await;
        made.push(room);
    }
    (alice, bob, made)
}

async fn deactivate(alice: &TestClient) {
    let auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD,
    });
    alice.post("/_matrix/client/v3/account/deactivate", json!({ "auth": auth })).await.ok();
}

/// Waits until the only job is as wanted.
async fn until(server: &TestServer, is_wanted: impl Fn(&JobRow) -> bool) -> JobRow {
    let coming = async {
        loop {
            let jobs = server.state().jobs.list().await.unwrap();
            if let [job] = &*jobs
                && is_wanted(job)
            {
                return job.clone();
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, coming).await.expect("the job goes on")
}

/// A server that leaves jobs to others.
async fn idle(db: &TestDatabase) -> TestServer {
    TestServer::start_with(db, |_, environment| environment.jobs.at_once = 0).await
}

#[test]
fn another_node_continues_the_job_of_a_killed_one() {
    run_on(Backend::Postgres, async |db| {
        let server = idle(db).await;
        let (alice, bob, rooms) = fill(&server, 60).await;
        deactivate(&alice).await;
        let job = until(&server, |_| true).await;
        assert_eq!(job.state, JobState::Waiting, "the node could die now");

        let process = SecondProcess::start("deactivation::node", &[("STOA_NODE_URL", db.url())]);
        let job = until(&server, |job| job.progress.done > 0).await;
        assert_eq!(job.state, JobState::Running);
        process.kill();
        let job = until(&server, |_| true).await;
        assert!(job.progress.done < 60, "it was killed too late: {job:?}");

        let next = TestServer::start(db).await;
        let job = until(&next, |job| job.finished_ms.is_some()).await;
        assert_eq!((job.state, job.progress.done), (JobState::Done, 60));
        for room in &rooms {
            let member = bob.state(room, "m.room.member", "@alice:test").await;
            assert_eq!(member["membership"], "leave");
        }
        let changes = surgery::membership_change_count(&next.state().store, "@alice:test").await;
        assert_eq!(changes, 2 * 60, "each room was joined once and left once");
    });
}

#[test]
#[ignore = "a node of its own, for the test that kills it"]
fn node() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let folder = TempDir::new().unwrap();
        let mut config = Config { server_name: "test".try_into().unwrap(), ..Config::default() };
        config.data_dir = folder.path().to_owned();
        let url = env::var("STOA_NODE_URL").unwrap();
        config.database.url = Some(serde_json::from_value(url.into()).unwrap());
        let mut environment = Environment::default();
        environment.jobs.ttl = Duration::from_millis(1_500);
        let app = App::start(config, environment).await.unwrap();
        tokio::task::spawn_blocking(wait_for_the_end).await.unwrap();
        app.stop().await;
    });
}

#[test]
fn a_user_in_many_rooms_never_keeps_the_log_locked() {
    for backend in ["sqlite", "postgres"] {
        let process = SecondProcess::start("deactivation::measured", &[("STOA_BACKEND", backend)]);
        let said = process.finish();
        println!("{backend}: {said:?}");
    }
}

/// In a process of its own, because there is one metrics recorder per process.
#[test]
#[ignore = "a process of its own, for the test that measures it"]
fn measured() {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &[0.005, 0.02, 0.1])
        .unwrap()
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let is_sqlite = env::var("STOA_BACKEND").unwrap() == "sqlite";
    let backend = if is_sqlite { Backend::Sqlite } else { Backend::Postgres };
    run_on(backend, async |db| {
        let server = TestServer::start(db).await;
        let (alice, ..) = fill(&server, 200).await;
        let before = held(&handle);
        deactivate(&alice).await;
        let job = until(&server, |job| job.finished_ms.is_some()).await;
        assert_eq!((job.state, job.progress.done), (JobState::Done, 200));
        let after = held(&handle);
        let count = |le: &str| after[le] - before.get(le).copied().unwrap_or_default();
        let (all, short) = (count("+Inf"), count("0.02"));
        let took = job.finished_ms.unwrap() - job.created_ms;
        let distribution =
            ["0.005", "0.02", "0.1", "+Inf"].map(|le| format!("{le}: {}", count(le)));
        say(&format!("{took} ms, locked {}", distribution.join(", ")));
        assert!(all >= 200, "each room is left by itself");
        // On a busy machine, the disk may be slow now and then, but hardly every time.
        assert!(2 * short > all, "of {all} times {short} were short");
    });
}

/// How often the log was locked for no longer than each bound.
fn held(handle: &PrometheusHandle) -> BTreeMap<String, u64> {
    let text = handle.render();
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("stoa_log_lock_held_seconds_bucket{le=\"")?;
        let (le, count) = rest.split_once("\"} ")?;
        Some((le.to_owned(), count.parse().ok()?))
    });
    lines.collect()
}
