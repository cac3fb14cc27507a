//! Following one request, in the log and in a collector.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use stoa_testing::{TestDatabase, both_databases};

use crate::{
    collector::{Collector, Span},
    program::{PATIENCE, Place, Running},
};

const PASSWORD: &str = "correct horse battery staple";
const LOGIN: &str = "/_matrix/client/v3/login";

/// The body that logs Alice in.
fn login(password: &str) -> Value {
    let identifier = json!({ "type": "m.id.user", "user": "alice" });
    json!({ "type": "m.login.password", "identifier": identifier, "password": password })
}

/// A server that sends traces to the collector.
fn traced(place: &Place) -> Running {
    place.serve_logging_to(fs::File::create(place.path("log")).expect("a log"))
}

fn log(place: &Place) -> String {
    fs::read_to_string(place.path("log")).expect("a log")
}

fn is_sending(span: &Span) -> bool {
    span.name.starts_with("PUT ") && span.name.contains("/send/")
}

both_databases! {
    async fn a_message_is_followed_from_its_request_to_the_statement(db: TestDatabase) {
        let collector = Collector::start();
        let settings = format!(
            "[tracing]\notlp_endpoint = {:?}\notlp_headers = \"x-team=chat, x-key=k\"",
            collector.url(),
        );
        let place = Place::new(db.url(), &settings);
        let server = traced(&place);
        let alice = server.register("alice", PASSWORD);
        let room = server.create_room(&alice);
        server.send(&alice, &room, "t1", "Hello");
        // Spans are sent without further requests, and the rest when the server stops.
        let request = collector.wait_for(is_sending);
        server.ask_with("POST", LOGIN, "none", "", &login("wrong"));
        assert!(server.stop() < PATIENCE);

        assert_eq!(request.kind, SpanKind::Server);
        assert_eq!(request.parent, Vec::<u8>::new());
        assert_eq!(request.attributes["http.response.status_code"], "200");
        assert_eq!(request.attributes["user.id"], "@alice:localhost");
        assert!(!request.attributes["http.request.header.x-request-id"].is_empty());
        let spans: Vec<Span> =
            collector.spans().into_iter().filter(|span| span.trace == request.trace).collect();
        let named = |name: &str| {
            let mut found = spans.iter().filter(|span| span.name == name);
            found.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
        };
        let writing = spans.iter().find(|span| {
            let sql = span.attributes.get("db.query.text");
            sql.is_some_and(|sql| sql.contains("log_batches") || sql.contains("append_batch"))
        });
        let writing = writing.expect("the statement that writes the message");
        assert_eq!(writing.kind, SpanKind::Client);
        let path = writing.path(&spans);
        assert_eq!(path[..3], ["statement", "write", "append"], "{path:?}");
        assert!(path.contains(&"send_message".to_owned()), "{path:?}");
        assert_eq!(path.last(), Some(&request.name), "{path:?}");
        for (inner, outer) in [("queue", "append"), ("apply", "write")] {
            assert_eq!(named(inner).parent(&spans).unwrap().name, outer);
        }
        assert_eq!(named("write").attributes["appends"], "1");

        // Work that continues after the client hung up is part of the request, too.
        let all = collector.spans();
        let creating = all.iter().find(|span| span.name == "create_room").expect("a new room");
        let parent = creating.parent(&all).expect("its request");
        assert!(parent.name.ends_with("/createRoom"), "{parent:?}");
        let refused = collector.spans().into_iter().rfind(|span| span.name.contains(LOGIN));
        assert_eq!(refused.unwrap().attributes["http.response.status_code"], "403");
        let head = &collector.heads()[0];
        for line in ["POST /v1/traces ", "x-team: chat", "x-key: k", "application/x-protobuf"] {
            assert!(head.contains(line), "{line} is not in {head}");
        }
        for resource in collector.resources() {
            assert_eq!(resource["service.name"], "stoa");
            assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
            assert_eq!(resource["matrix.server_name"], "localhost");
            assert!(resource["service.instance.id"].parse::<i64>().is_ok(), "{resource:?}");
        }
        assert!(!log(&place).contains("traces"), "{}", log(&place));
    }

    async fn nothing_secret_is_in_a_trace_or_in_the_log(db: TestDatabase) {
        let collector = Collector::start();
        let settings = format!(
            "[tracing]\notlp_endpoint = {:?}\n[log]\nfilter = \"info,stoa=debug\"",
            collector.url(),
        );
        let place = Place::new(db.url(), &settings);
        let server = traced(&place);
        let registered = server.register("alice", PASSWORD);
        let request = [login(PASSWORD), json!({ "refresh_token": true })];
        let request = request.iter().flat_map(|it| it.as_object().unwrap().clone()).collect();
        let logged_in = server.ask("POST", LOGIN, "none", &request);
        let refresh = logged_in["refresh_token"].as_str().expect("a refresh token").to_owned();
        let refreshed = json!({ "refresh_token": refresh });
        let refreshed = server.ask("POST", "/_matrix/client/v3/refresh", "none", &refreshed);
        let [first, second] =
            [&logged_in, &refreshed].map(|it| it["access_token"].as_str().expect("a token"));
        let room = server.create_room(second);
        server.send(second, &room, "t1", "Marzipan for everybody");
        let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.topic/");
        server.ask("PUT", &path, second, &json!({ "topic": "Nougat" }));
        server.ask("GET", &format!("/_matrix/client/v3/sync?access_token={second}"), second, &json!({}));
        server.ask_with("POST", LOGIN, "none", "", &login("an old password"));
        server.ask_with("POST", LOGIN, "none", "traceparent: 00-11111111111111111111111111111111-2222222222222222-01\r\n", &login(PASSWORD));
        server.stop();

        let (traces, lines) = (collector.everything(), log(&place));
        assert!(traces.contains("/send/") && lines.contains("/send/"));
        for secret in [
            PASSWORD, "an old password", "Marzipan", "Nougat", first, second, &refresh, &registered,
        ] {
            assert!(!traces.contains(secret), "{secret} is in a trace");
            assert!(!lines.contains(secret), "{secret} is in the log");
        }
        // A client cannot choose the trace ID.
        assert!(collector.spans().iter().all(|span| span.trace != [0x11; 16]));
    }

    async fn the_lines_of_a_request_share_its_id_and_name_its_statements(db: TestDatabase) {
        let place = Place::new(db.url(), "[log]\nfilter = \"info,stoa=debug\"");
        let server = traced(&place);
        server.register("alice", PASSWORD);
        server.ask_with("POST", LOGIN, "none", "X-Request-Id: slow-one\r\n", &login(PASSWORD));
        server.stop();
        let log = log(&place);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("slow-one")).collect();
        for parts in [
            &["statement{sql=", "password_hash", "close", "time.busy"][..],
            &["append{", "write{", "statement{", "log_batches", "close"],
            &["append{", "queue", "close"],
            &["answered", "milliseconds="],
        ] {
            let is_it = |line: &&&str| {
                let text = line.replace("append_batch", "log_batches");
                parts.iter().all(|part| text.contains(part))
            };
            assert!(lines.iter().any(|line| is_it(&line)), "no {parts:?} in {log}");
        }
        // The request's own line says more than that it has ended.
        assert!(!log.lines().any(|line| line.contains("request") && line.contains("INFO") && line.contains("close")));
    }
}

#[test]
fn appends_that_are_written_together_are_linked() {
    let collector = Collector::start();
    let database = TestDatabase::sqlite();
    let settings =
        format!("[tracing]\notlp_endpoint = {:?}\n[limits]\nenabled = false", collector.url());
    let place = Place::new(database.url(), &settings);
    let server = traced(&place);
    let alice = server.register("alice", PASSWORD);
    let rooms: Vec<String> = (0..8).map(|_| server.create_room(&alice)).collect();
    thread::scope(|scope| {
        for room in &rooms {
            scope
                .spawn(|| (0..20).for_each(|n| server.send(&alice, room, &n.to_string(), "Hello")));
        }
    });
    server.stop();
    let spans = collector.spans();
    let together = |span: &&Span| span.name == "write" && span.attributes["appends"] != "1";
    let writing = spans.iter().find(together).expect("a batch of several appends");
    let others = spans.iter().filter(|span| span.links.contains(&writing.id));
    let others: Vec<&Span> = others.collect();
    assert_eq!((others.len() + 1).to_string(), writing.attributes["appends"]);
    assert!(others.iter().all(|span| span.name == "append" && span.trace != writing.trace));
}

#[test]
fn programs_read_the_same_in_json() {
    let database = TestDatabase::sqlite();
    let place =
        Place::new(database.url(), "[log]\nfilter = \"info,stoa=debug\"\nformat = \"json\"");
    let server = traced(&place);
    server.register("alice", PASSWORD);
    server.ask_with("POST", LOGIN, "none", "X-Request-Id: slow-one\r\n", &login(PASSWORD));
    server.stop();
    let log = log(&place);
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let statements = lines
        .filter(|line| line["span"]["name"] == "statement" && line["spans"][0]["id"] == "slow-one");
    assert!(statements.count() > 1, "{log}");
}

#[test]
fn nothing_is_sent_unless_a_collector_is_set() {
    let collector = Collector::start();
    let database = TestDatabase::sqlite();
    let place = Place::new(database.url(), "");
    let mut command = place.command(&["serve"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let server = Running::start(command);
    server.register("alice", PASSWORD);
    sleep(Duration::from_secs(2));
    server.stop();
    assert_eq!(collector.connections(), 0);
}

#[test]
fn a_collector_that_does_not_answer_delays_nothing() {
    let collector = Collector::start_silent();
    let database = TestDatabase::sqlite();
    let place = Place::new(
        database.url(),
        &format!("[tracing]\notlp_endpoint = {:?}\n[limits]\nenabled = false", collector.url()),
    );
    let server = traced(&place);
    let alice = server.register("alice", PASSWORD);
    let room = server.create_room(&alice);
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    // More spans than the queue has places for, and longer than it takes until the first are sent.
    for n in 0.. {
        let began_one = Instant::now();
        server.send(&alice, &room, &format!("t{n}"), "Hello");
        slowest = slowest.max(began_one.elapsed());
        if n > 1_500 && began.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(collector.connections() > 0);
    let stopping = server.stop();
    assert!(stopping < Duration::from_secs(8), "{stopping:?}");
    assert!(log(&place).contains("did not wait for all traces"), "{}", log(&place));
}

#[test]
fn a_collector_that_is_gone_is_reported_once_in_a_while() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let nobody = listener.local_addr().expect("an address");
    drop(listener);
    let database = TestDatabase::sqlite();
    let place =
        Place::new(database.url(), &format!("[tracing]\notlp_endpoint = \"http://{nobody}\""));
    let server = traced(&place);
    for n in 0..4 {
        server.register(&format!("user{n}"), PASSWORD);
        sleep(Duration::from_millis(1_100));
    }
    let metrics = server.get("metrics", "/metrics");
    assert!(metrics.contains("stoa_trace_spans_lost_total"), "{metrics}");
    server.stop();
    let log = log(&place);
    assert_eq!(log.matches("cannot send traces").count(), 1, "{log}");
}

#[test]
fn a_part_of_the_requests_is_traced_as_a_whole() {
    let collector = Collector::start();
    let database = TestDatabase::sqlite();
    let settings = format!("[tracing]\notlp_endpoint = {:?}\nsample_one_in = 4", collector.url());
    let place = Place::new(database.url(), &settings);
    let server = traced(&place);
    let alice = server.register("alice", PASSWORD);
    let room = server.create_room(&alice);
    for n in 0..80 {
        server.send(&alice, &room, &format!("t{n}"), "Hello");
    }
    server.stop();
    let spans = collector.spans();
    let requests = spans.iter().filter(|span| is_sending(span)).count();
    assert!((1..60).contains(&requests), "{requests} of 80");
    let appends = spans.iter().filter(|span| span.name == "append");
    for append in appends {
        let path = append.path(&spans);
        assert!(path.last().unwrap().contains("/_matrix/"), "{path:?}");
    }
}

#[test]
fn a_slow_request_is_reported_and_one_that_waits_for_news_is_not() {
    let database = TestDatabase::sqlite();
    let reported = |slow_request_ms: u32| {
        let settings = format!("[log]\nslow_request_ms = {slow_request_ms}");
        let place = Place::new(database.url(), &settings);
        let server = traced(&place);
        let alice = server.register(&format!("alice{slow_request_ms}"), PASSWORD);
        let synced = server.ask("GET", "/_matrix/client/v3/sync", &alice, &json!({}));
        let since = synced["next_batch"].as_str().expect("a token");
        let sync = format!("/_matrix/client/v3/sync?timeout=2500&since={since}");
        let began = Instant::now();
        server.ask("GET", &sync, &alice, &json!({}));
        assert!(began.elapsed() >= Duration::from_millis(2_500));
        server.stop();
        let log = log(&place);
        log.lines().filter(|line| line.contains("a slow request")).map(str::to_owned).collect()
    };
    let slow: Vec<String> = reported(1);
    let registering = slow.iter().find(|line| line.contains("/register"));
    let registering = registering.unwrap_or_else(|| panic!("no registering in {slow:#?}"));
    for part in ["WARN", "request{id=", "milliseconds=", "in_database=", "in_appends="] {
        assert!(registering.contains(part), "{part} is not in {registering}");
    }
    assert!(!reported(2_000).iter().any(|line| line.contains("/sync")));
    assert_eq!(reported(0), Vec::<String>::new());
}
