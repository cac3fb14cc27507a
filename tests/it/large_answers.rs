//! Only as many large answers are built and sent at the same time as fit into memory.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http::{Request, header};
use ruma::user_id;
use serde_json::{Value, json};
use stoa_http::{Admission, admission::Place};
use stoa_testing::{
    TestClient, TestDatabase, TestServer, both_databases, encode, in_room, state_events,
};
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

const SYNC: &str = "/_matrix/client/v3/sync";
const MIB: u64 = 1 << 20;

async fn start(db: &TestDatabase, mib: u64) -> TestServer {
    TestServer::start_with(db, |config, _| {
        config.limits.large_response_bytes = u32::try_from(mib * MIB).unwrap();
    })
    .await
}

/// A room with `count` state events in addition to those that every room has.
async fn large_room(alice: &TestClient, count: usize) -> String {
    let state: Vec<Value> = (0..count)
        .map(|n| {
            let content = json!({ "text": "x".repeat(500) });
            json!({ "type": "a.b", "state_key": n.to_string(), "content": content })
        })
        .collect();
    alice.create_room(json!({ "initial_state": state })).await
}

/// Takes all memory for large answers, in halves, because no user gets more than half.
async fn take_all(admission: &Admission) -> [Place; 2] {
    [
        admission.admit(user_id!("@one:test"), u64::MAX).await.unwrap(),
        admission.admit(user_id!("@other:test"), u64::MAX).await.unwrap(),
    ]
}

both_databases! {
    async fn a_client_logged_out_while_waiting_for_memory_is_sent_nothing(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let room = large_room(&alice, 500).await;
        let event = alice.send(&room, "hello").await;
        let phone = server.log_in(&alice).await;
        let admission = server.state().admission.clone();
        let large = take_all(&admission).await;
        let mut small = Vec::new();
        for user in [user_id!("@one:test"), user_id!("@other:test")].repeat(2) {
            small.push(admission.admit(user, MIB).await.unwrap());
        }
        let paths = [
            "state",
            "members",
            "joined_members",
            "messages?dir=b&limit=1000",
            &format!("context/{}", encode(&event)),
        ];
        let waiting = paths.map(|path| {
            let (phone, path) = (phone.clone(), in_room(&room, path));
            tokio::spawn(async move { (phone.get(&path).await, path) })
        });
        sleep(Duration::from_millis(500)).await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "they wait for a place");
        phone.post("/_matrix/client/v3/logout", json!({})).await.ok();
        drop((large, small));
        for waiting in waiting {
            let (answer, path) = waiting.await.unwrap();
            assert_eq!(answer.status, 401, "{path}");
            answer.refused(401, "M_UNKNOWN_TOKEN");
        }
    }

    async fn many_first_syncs_stay_within_the_limit(db: TestDatabase) {
        // Each weighs about 4 MB, and there are 12 MB for large answers.
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        for _ in 0..2 {
            large_room(&alice, 500).await;
        }
        let admission = server.state().admission.clone();
        let syncs: Vec<_> = (0..20)
            .map(|_| {
                let alice = alice.clone();
                tokio::spawn(async move { alice.get(SYNC).await })
            })
            .collect();
        let watch = tokio::spawn({
            let admission = admission.clone();
            async move {
                let mut most = 0;
                loop {
                    most = most.max(admission.taken());
                    if timeout(Duration::from_millis(1), std::future::pending::<()>()).await.is_err()
                        && most > 0
                        && admission.taken() == 0
                    {
                        return most;
                    }
                }
            }
        });
        for sync in syncs {
            let answer = sync.await.unwrap();
            assert_eq!(answer.ok()["rooms"]["join"].as_object().unwrap().len(), 2);
            assert!(answer.body.len() > 500_000, "{}", answer.body.len());
        }
        let most = timeout(Duration::from_secs(60), watch).await.unwrap().unwrap();
        assert!(most > 4 * MIB && most <= 16 * MIB, "{most}");
        assert_eq!(admission.taken(), 0);
    }

    /// The part of an answer that a client has not read yet counts, but small requests do not wait
    /// for it.
    async fn an_answer_counts_until_it_is_read(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let room = large_room(&alice, 500).await;
        let admission = server.state().admission.clone();
        for path in [
            SYNC.to_owned(),
            in_room(&room, "state"),
            in_room(&room, "messages?dir=b&limit=1000"),
        ] {
            let request = Request::get(&path)
                .header(header::AUTHORIZATION, format!("Bearer {}", alice.token().unwrap()))
                .body(Body::empty())
                .unwrap();
            let response = server.router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            assert!(admission.taken() > 200_000, "{path}: {}", admission.taken());
            drop(response);
            assert_eq!(admission.taken(), 0, "{path}");
        }
        // With all memory taken, large answers wait and small ones do not.
        let all = take_all(&admission).await;
        let nothing = format!("{SYNC}?filter={}", encode("{\"room\":{\"rooms\":[]}}"));
        let first = timeout(Duration::from_secs(5), alice.get(&nothing)).await.unwrap().ok();
        let since = format!("{SYNC}?since={}", first["next_batch"].as_str().unwrap());
        alice.get(&since).await.ok();
        alice.get("/_matrix/client/v3/account/whoami").await.ok();
        alice.get(&in_room(&room, "members")).await.ok();
        alice.get(&in_room(&room, "joined_members")).await.ok();
        let waiting = tokio::spawn({
            let alice = alice.clone();
            async move { alice.get(SYNC).await }
        });
        let full = tokio::spawn({
            let (alice, path) = (alice.clone(), format!("{since}&full_state=true"));
            async move { alice.get(&path).await }
        });
        sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished() && !full.is_finished());
        drop(all);
        waiting.await.unwrap().ok();
        full.await.unwrap().ok();
    }

    /// An old token does not get around the limit.
    async fn rooms_that_were_entered_since_the_token_are_weighed(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let before = alice.get(SYNC).await.ok();
        let since = format!("{SYNC}?since={}", before["next_batch"].as_str().unwrap());
        let small = alice.create_room(json!({})).await;
        let admission = server.state().admission.clone();
        let all = take_all(&admission).await;
        let told = timeout(Duration::from_secs(5), alice.get(&since)).await.unwrap().ok();
        assert!(told["rooms"]["join"].get(&small).is_some());
        let large = large_room(&alice, 500).await;
        let waiting = tokio::spawn({
            let (alice, since) = (alice.clone(), since.clone());
            async move { alice.get(&since).await }
        });
        sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished(), "a room of two megabytes");
        drop(all);
        let told = waiting.await.unwrap().ok();
        assert_eq!(told["rooms"]["join"].as_object().unwrap().len(), 2);
        // A client that already has the room gets its answer at once.
        let all = take_all(&admission).await;
        alice.send(&large, "hello").await;
        let since = format!("{SYNC}?since={}", told["next_batch"].as_str().unwrap());
        timeout(Duration::from_secs(5), alice.get(&since)).await.unwrap().ok();
        drop(all);
    }

    /// The part that slow clients have not read yet counts with its real size, whatever was
    /// expected.
    async fn large_events_count_with_their_real_size(db: TestDatabase) {
        let server = start(db, 64).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        let text = "x".repeat(60_000);
        let mut event = String::new();
        for n in 0..60 {
            let path = in_room(&room, &format!("send/m.room.message/{n}"));
            let sent = alice.put(&path, json!({ "body": text })).await.ok();
            event = sent["event_id"].as_str().unwrap().to_owned();
        }
        for _ in 0..2 {
            let other = alice.create_public_room().await;
            for n in 0..20 {
                let path = in_room(&other, &format!("send/m.room.message/{n}"));
                alice.put(&path, json!({ "body": text })).await.ok();
            }
        }
        let admission = server.state().admission.clone();
        let context = format!("context/{}?limit=100", encode(&event));
        let filter = encode(r#"{"room":{"timeline":{"limit":50}}}"#);
        for path in [in_room(&room, &context), format!("{SYNC}?filter={filter}")] {
            let request = Request::get(&path)
                .header(header::AUTHORIZATION, format!("Bearer {}", alice.token().unwrap()))
                .body(Body::empty())
                .unwrap();
            let response = server.router().oneshot(request).await.unwrap();
            let size = response.body().size_hint().exact().unwrap();
            assert!(size > 2 * MIB, "{path}: {size}");
            assert!(admission.taken() >= size, "{path}: {} of {size}", admission.taken());
            drop(response);
        }
    }

    /// An answer that turns out larger than expected while it is built waits for more memory.
    async fn what_is_read_counts_before_the_rest_is_read(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let before = alice.get(SYNC).await.ok();
        let text = "x".repeat(60_000);
        let room = alice.create_room(json!({})).await;
        for n in 0..40 {
            alice.set_state(&room, "a.b", &n.to_string(), json!({ "text": text })).await;
        }
        let entered = alice.get(SYNC).await.ok();
        for n in 0..20 {
            let path = in_room(&room, &format!("send/m.room.message/{n}"));
            alice.put(&path, json!({ "body": text })).await.ok();
        }
        let filter = encode(r#"{"room":{"timeline":{"limit":50}}}"#);
        let since = |token: &Value| {
            format!("{SYNC}?since={}&filter={filter}", token["next_batch"].as_str().unwrap())
        };
        let admission = server.state().admission.clone();
        // This many events are expected to take less than a megabyte, for which no memory is
        // reserved.
        let all = take_all(&admission).await;
        let paths = [
            SYNC.to_owned(),
            since(&before),
            since(&entered),
            in_room(&room, "state"),
        ];
        let waiting = paths.map(|path| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.get(&path).await })
        });
        sleep(Duration::from_secs(1)).await;
        for (n, waiting) in waiting.iter().enumerate() {
            assert!(!waiting.is_finished(), "request {n}");
        }
        drop(all);
        for (n, waiting) in waiting.into_iter().enumerate() {
            let answer = timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
            assert_eq!(answer.status, 200, "request {n}");
            assert!(answer.body.len() > 600_000, "request {n}: {}", answer.body.len());
        }
        assert_eq!(admission.taken(), 0);
    }

    /// Small events that replace large ones, whose contents are sent as `prev_content`.
    async fn prev_content_counts(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let text = "x".repeat(60_000);
        for n in 0..20 {
            alice.set_state(&room, "a.b", &n.to_string(), json!({ "text": text })).await;
        }
        let before = alice.get(SYNC).await.ok();
        let mut last = String::new();
        for n in 0..20 {
            last = alice.set_state(&room, "a.b", &n.to_string(), json!({})).await;
        }
        let admission = server.state().admission.clone();
        let all = take_all(&admission).await;
        let filter = encode(r#"{"room":{"timeline":{"limit":50}}}"#);
        let since = before["next_batch"].as_str().unwrap();
        let paths = [
            format!("{SYNC}?since={since}&filter={filter}"),
            in_room(&room, "messages?dir=b&limit=20"),
            in_room(&room, &format!("context/{}?limit=40", encode(&last))),
        ];
        let waiting = paths.map(|path| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.get(&path).await })
        });
        sleep(Duration::from_millis(500)).await;
        for waiting in &waiting {
            assert!(!waiting.is_finished());
        }
        drop(all);
        for waiting in waiting {
            let told = waiting.await.unwrap();
            assert!(told.body.len() > 1_000_000, "the contents that were replaced");
        }
    }

    /// Events that a filter leaves out are read in portions and do not count.
    async fn events_left_out_do_not_count(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let text = "x".repeat(60_000);
        for _ in 0..220 {
            alice.send(&room, &text).await;
        }
        // All of them take 27 megabytes, and one answer may take 24.
        let filter = encode(r#"{"types":["m.room.create"]}"#);
        let page = in_room(&room, &format!("messages?dir=b&limit=100&filter={filter}"));
        let told = alice.get(&page).await.ok();
        assert_eq!(told["chunk"].as_array().unwrap().len(), 1, "the beginning is reached");
    }

    /// An event that is redacted while the answer waits for memory is sent redacted.
    async fn an_event_redacted_meanwhile_is_sent_redacted(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let text = "x".repeat(60_000);
        for n in 0..20 {
            alice.set_state(&room, "a.b", &n.to_string(), json!({ "text": text })).await;
        }
        let secret = alice.send(&room, "secret").await;
        let admission = server.state().admission.clone();
        let all = take_all(&admission).await;
        let waiting = tokio::spawn({
            let path = in_room(&room, &format!("context/{}", encode(&secret)));
            let alice = alice.clone();
            async move { alice.get(&path).await }
        });
        sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished());
        let path = in_room(&room, &format!("redact/{}/1", encode(&secret)));
        alice.put(&path, json!({})).await.ok();
        drop(all);
        let told = waiting.await.unwrap().ok();
        assert_eq!((&told["event"]["event_id"], &told["event"]["content"]), (&json!(secret), &json!({})));
    }

    /// An incremental sync does not cost as much as an initial one just because others sent large
    /// events.
    async fn large_news_count_as_one_heavy_read(db: TestDatabase) {
        let server = TestServer::start_with(db, |config, _| {
            config.limits.enabled = true;
            config.limits.heavy_reads.burst = 12.try_into().unwrap();
            config.limits.heavy_reads.per_minute = 1.try_into().unwrap();
        })
        .await;
        let (alice, bob) = (server.register("alice").await, server.register("bob").await);
        let room = bob.create_public_room().await;
        alice.join(&room).await;
        let before = alice.get(SYNC).await.ok();
        let text = "x".repeat(60_000);
        for _ in 0..10 {
            bob.send(&room, &text).await;
        }
        let path = format!("{SYNC}?since={}", before["next_batch"].as_str().unwrap());
        // One may go into debt.
        for _ in 0..3 {
            assert!(alice.get(&path).await.ok().to_string().len() > 500_000);
        }
        alice.get(&path).await.refused(429, "M_LIMIT_EXCEEDED");
    }

    /// If nothing is new for a client, but much had to be read to find that out, it is answered at
    /// once instead of keeping its memory while it waits.
    async fn no_memory_is_held_while_waiting_for_news(db: TestDatabase) {
        let server = start(db, 16).await;
        let alice = server.register("alice").await;
        let room = alice.create_room(json!({})).await;
        let before = alice.get(SYNC).await.ok();
        let text = "x".repeat(60_000);
        for n in 0..20 {
            let path = in_room(&room, &format!("send/m.room.message/{n}"));
            alice.put(&path, json!({ "body": text })).await.ok();
        }
        let filter = encode(r#"{"room":{"timeline":{"limit":50,"types":["a.b"]}}}"#);
        let since = before["next_batch"].as_str().unwrap();
        let path = format!("{SYNC}?since={since}&filter={filter}&timeout=30000");
        timeout(Duration::from_secs(15), alice.get(&path)).await.unwrap().ok();
        assert_eq!(server.state().admission.taken(), 0);
    }

    /// A user with many answers that are never read does not block other users' answers.
    async fn one_user_does_not_take_all_places(db: TestDatabase) {
        let server = start(db, 16).await;
        let (alice, bob) = (server.register("alice").await, server.register("bob").await);
        let room = large_room(&alice, 500).await;
        large_room(&bob, 500).await;
        let unread: Vec<_> = (0..150)
            .map(|_| {
                let request = Request::get(in_room(&room, "state"))
                    .header(header::AUTHORIZATION, format!("Bearer {}", alice.token().unwrap()))
                    .body(Body::empty())
                    .unwrap();
                tokio::spawn(server.router().oneshot(request))
            })
            .collect();
        sleep(Duration::from_secs(2)).await;
        timeout(Duration::from_secs(10), bob.get(SYNC)).await.unwrap().ok();
        for unread in unread {
            unread.abort();
        }
    }

    async fn a_page_of_the_room_list_has_so_many_bytes(db: TestDatabase) {
        let server = start(db, 64).await;
        let alice = server.register("alice").await;
        for _ in 0..60 {
            let topic = "x".repeat(28_000);
            alice.create_room(json!({ "visibility": "public", "topic": topic })).await;
        }
        let (mut seen, mut since) = (0, String::new());
        for pages in 0.. {
            assert!(pages < 10);
            let page = alice.get(&format!("/_matrix/client/v3/publicRooms?limit=500{since}")).await;
            assert!(page.body.len() < 1_200_000, "{}", page.body.len());
            let page = page.ok();
            seen += page["chunk"].as_array().unwrap().len();
            let Some(next) = page["next_batch"].as_str() else { break };
            since = format!("&since={}", encode(next));
        }
        assert_eq!(seen, 60);
    }

    async fn a_page_of_history_has_so_many_bytes(db: TestDatabase) {
        let server = start(db, 64).await;
        let alice = server.register("alice").await;
        let room = alice.create_public_room().await;
        let text = "x".repeat(60_000);
        for n in 0..40 {
            let path = in_room(&room, &format!("send/m.room.message/{n}"));
            alice.put(&path, json!({ "n": n, "body": text })).await.ok();
        }
        let (mut seen, mut from) = (Vec::new(), String::new());
        for pages in 0.. {
            assert!(pages < 10);
            let path = in_room(&room, &format!("messages?dir=b&limit=1000{from}"));
            let page = alice.get(&path).await;
            assert!(page.body.len() < 1_300_000, "{}", page.body.len());
            let page = page.ok();
            let events = page["chunk"].as_array().unwrap().clone();
            seen.extend(events.iter().filter_map(|event| event["content"]["n"].as_u64()));
            let Some(end) = page["end"].as_str() else { break };
            from = format!("&from={end}");
        }
        assert_eq!(seen, (0..40).rev().collect::<Vec<_>>());
    }

    async fn estimated_sizes_are_close_to_the_sent_ones(db: TestDatabase) {
        let server = start(db, 64).await;
        let alice = server.register("alice").await;
        for count in [0, 10, 100, 490] {
            let room = large_room(&alice, count).await;
            let rooms = &server.state().rooms;
            let room = rooms.known.by_id(room.as_str().try_into().unwrap()).await.unwrap();
            let state = rooms.visible_states.now(ruma::user_id!("@alice:test"), &room).await.unwrap();
            let all = state_events(rooms, state, stoa_rooms::state::Part::All).await.len();
            let about = rooms.states.about_how_many([state], stoa_rooms::state::Part::All).await.unwrap();
            let about = usize::try_from(about).unwrap();
            assert!(about >= all / 3 && about <= 3 * all, "{about} instead of {all}");
        }
    }
}
