//! The database host disappears silently: no connection breaks, and nothing answers. The node
//! notices, reports it, and recovers by itself when the host is back.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::json;
use stoa_testing::{
    TestClient, TestDatabase, TestNetwork, TestPostgres, TestServer, in_own_network,
};

/// How soon the node must notice that the host is gone, and that it is back.
const SOON: Duration = Duration::from_secs(10);
/// How long the host is gone: long enough that TCP retries only rarely.
const OUTAGE: Duration = Duration::from_secs(25);
/// How long a request may take in the meantime.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_vanished_database_host_is_noticed_and_the_node_recovers() {
    in_own_network("silent_database::in_its_network");
}

#[test]
#[ignore = "the test above runs it in a network of its own"]
fn in_its_network() {
    let network = TestNetwork::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(postgres) = TestPostgres::start_far(&network).await else { return };
        let db = TestDatabase::on_server(&postgres.url()).await;
        // News from another node arrives at once, or not within the test.
        let start = || {
            TestServer::start_with(&db, |_, environment| {
                environment.tailer.interval = Duration::from_secs(120);
            })
        };
        let (one, other) = (start().await, start().await);
        let alice = one.register("alice").await;
        let bob = other.log_in(&alice).await;
        let room = alice.create_room(json!({})).await;
        alice.send(&room, "before").await;
        assert_eq!(readiness(&one).await, StatusCode::OK);

        // Some are in the middle of a statement when it happens. There are more of them than
        // connections.
        let readers: Vec<_> =
            (0..12).map(|_| tokio::spawn(read_again_and_again(alice.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let cut = network.cut();
        let began = Instant::now();
        until("the node notices", async || readiness(&one).await != StatusCode::OK).await;
        println!("noticed after {:?}", began.elapsed());
        for reader in readers {
            let (status, waited) = in_time(PATIENCE, reader).await.unwrap();
            println!("{status} after {waited:?}");
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
        tokio::time::sleep_until((began + OUTAGE).into()).await;
        assert_eq!(readiness(&one).await, StatusCode::SERVICE_UNAVAILABLE);

        drop(cut);
        let mended = Instant::now();
        until("the node goes on", async || readiness(&one).await == StatusCode::OK).await;
        println!("back after {:?}", mended.elapsed());
        in_time(PATIENCE, alice.get("/_matrix/client/v3/devices")).await.ok();
        in_time(PATIENCE, alice.send(&room, "after")).await;
        println!("written after {:?}", mended.elapsed());

        // One node receives the notifications of the other.
        until("the other goes on", async || readiness(&other).await == StatusCode::OK).await;
        let sync = "/_matrix/client/v3/sync?timeout=20000";
        let since = in_time(PATIENCE, bob.get("/_matrix/client/v3/sync")).await.ok();
        let since = since["next_batch"].as_str().unwrap();
        let path = format!("{sync}&since={since}");
        let news = bob.get(&path);
        let (news, ()) = in_time(PATIENCE, async {
            tokio::join!(news, async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                alice.send(&room, "heard").await;
            })
        })
        .await;
        assert!(news.ok()["rooms"]["join"][&room].is_object(), "the other node was told nothing");
    });
}

/// Reads until a read fails. Returns the error and how long the read took.
async fn read_again_and_again(client: TestClient) -> (StatusCode, Duration) {
    loop {
        let asked = Instant::now();
        let answer = client.get("/_matrix/client/v3/devices").await;
        if answer.status != StatusCode::OK {
            return (answer.status, asked.elapsed());
        }
    }
}

async fn readiness(server: &TestServer) -> StatusCode {
    in_time(SOON, server.client().get("/ready")).await.status
}

/// Waits until a condition holds, which must be soon.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < SOON, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn in_time<F: Future>(limit: Duration, work: F) -> F::Output {
    tokio::time::timeout(limit, work).await.expect("an answer in time")
}
