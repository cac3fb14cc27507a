//! `POST /_matrix/client/v3/account/deactivate`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::account::{
    ThirdPartyIdRemovalStatus,
    deactivate::v3::{Request, Response},
};
use serde::Serialize;
use stoa_accounts::{InteractiveAnswer, InteractiveAuth, InteractiveRequest, Stage, Users};
use stoa_cluster::Jobs;
use stoa_http::{Answer, Error, Result, Ruma};

use crate::ops::deactivate_account::deactivate_account;

/// The action that the user is asked to confirm.
#[derive(Serialize)]
struct Confirmed {
    erase: bool,
}

/// Deactivates the user's account, once they have entered the password. Their sessions end at once;
/// a job then leaves their rooms.
pub(crate) async fn deactivate(
    State(interactive_auth): State<Arc<InteractiveAuth>>,
    State(users): State<Arc<Users>>,
    State(jobs): State<Jobs>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let session = request.session.as_ref().ok_or_else(Error::missing_token)?;
    let erase = request.body.erase;
    let auth = interactive_auth
        .authenticate(&InteractiveRequest {
            operation: "account/deactivate",
            user: Some(&session.user_id),
            body: &Confirmed { erase },
            flows: &[&[Stage::Password]],
            auth: request.body.auth.as_ref(),
            address: request.address,
        })
        .await?;
    if let InteractiveAnswer::Challenge(info) = auth {
        return Err(Error::interactive_auth(info));
    }
    let actor = session.actor(request.address);
    deactivate_account(&users, &jobs, &actor, session.user_id.clone(), erase).await?;
    // Users have no third-party identifiers here, so there is nothing to unbind.
    Ok(Answer(Response::new(ThirdPartyIdRemovalStatus::Success)))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use ruma::user_id;
    use serde_json::{Value, json};
    use stoa_base::Actor;
    use stoa_storage::{
        log::Stream,
        repo::{
            account_data, filters,
            jobs::{JobRow, JobState},
        },
    };
    use stoa_testing::{
        Backend, PASSWORD, TestClient, TestDatabase, TestResponse, TestServer, both_databases,
        encode, in_room, run_on, surgery,
    };
    use tokio::time::{sleep, timeout};

    use crate::jobs::deactivate_account::KIND;

    const PATH: &str = "/_matrix/client/v3/account/deactivate";
    const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
    const PROFILE: &str = "/_matrix/client/v3/profile/@alice:test";

    fn auth(password: &str) -> Value {
        json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": "alice" },
            "password": password,
        })
    }

    async fn deactivate(client: &TestClient, erase: bool) -> TestResponse {
        client.post(PATH, json!({ "auth": auth(PASSWORD), "erase": erase })).await
    }

    /// Waits until the only job has ended.
    async fn ended(server: &TestServer) -> JobRow {
        let ending = async {
            loop {
                let jobs = server.state().jobs.list().await.unwrap();
                if let [job] = &*jobs
                    && job.finished_ms.is_some()
                {
                    return job.clone();
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), ending).await.expect("the job ends")
    }

    async fn membership(client: &TestClient, room: &str) -> Value {
        client.state(room, "m.room.member", "@alice:test").await["membership"].clone()
    }

    both_databases! {
        async fn the_password_must_be_known(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let challenge = alice.post(PATH, json!({})).await;
            assert_eq!(challenge.status, 401);
            assert_eq!(challenge.json()["flows"], json!([{ "stages": ["m.login.password"] }]));
            let wrong = json!({ "auth": auth("wrong") });
            alice.post(PATH, wrong).await.refused(401, "M_FORBIDDEN");
            server.client().post(PATH, json!({})).await.refused(401, "M_MISSING_TOKEN");
            // The parameters that were confirmed are the ones used.
            let session = challenge.json()["session"].clone();
            let mut confirmed = auth("wrong");
            confirmed["session"] = session.clone();
            alice.post(PATH, json!({ "auth": confirmed })).await.refused(401, "M_FORBIDDEN");
            alice.get(WHOAMI).await.ok();
            assert_eq!(server.state().jobs.list().await.unwrap(), []);
        }

        async fn nobody_is_logged_in_any_more_and_the_name_stays_taken(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let phone = server.log_in(&alice).await;
            let answer = deactivate(&alice, false).await.ok();
            assert_eq!(answer, json!({ "id_server_unbind_result": "success" }));
            for device in [&alice, &phone] {
                device.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
            }
            let login = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
            let path = "/_matrix/client/v3/login";
            server.client().post(path, login.clone()).await.refused(403, "M_USER_DEACTIVATED");
            ended(&server).await;
            server.client().post(path, login).await.refused(403, "M_USER_DEACTIVATED");
            let again = json!({
                "auth": { "type": "m.login.dummy" }, "username": "alice", "password": "other",
            });
            let again = server.client().post("/_matrix/client/v3/register", again).await;
            again.refused(400, "M_USER_IN_USE");
        }

        async fn rooms_are_left_invites_rejected_and_knocks_taken_back(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let mut rooms = Vec::new();
            for _ in 0..25 {
                let room = alice.create_public_room().await;
                bob.join(&room).await;
                rooms.push(room);
            }
            let invited = bob.create_room(json!({ "invite": ["@alice:test"] })).await;
            let knocked = bob.create_room(json!({ "initial_state": [{
                "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" },
            }] })).await;
            alice.post(&format!("/_matrix/client/v3/knock/{knocked}"), json!({})).await.ok();
            let banned = bob.create_room(json!({})).await;
            bob.post(&in_room(&banned, "ban"), json!({ "user_id": "@alice:test" })).await.ok();

            deactivate(&alice, false).await.ok();
            let job = ended(&server).await;
            assert_eq!(job.state, JobState::Done, "{job:?}");
            assert_eq!((job.progress.done, job.progress.total), (27, 27));
            assert_eq!(job.progress.text, "rooms that the user has left: 27");
            assert_eq!(job.actor, "@alice:test");
            for room in rooms.iter().chain([&invited, &knocked]) {
                assert_eq!(membership(&bob, room).await, "leave");
            }
            assert_eq!(membership(&bob, &banned).await, "ban");
        }

        async fn without_erasure_messages_and_profile_stay(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, carol) = (server.register("alice").await, server.register("carol").await);
            let name = json!({ "displayname": "Alice" });
            alice.put(&format!("{PROFILE}/displayname"), name.clone()).await.ok();
            let room = alice.create_public_room().await;
            let event = alice.send(&room, "hello").await;
            deactivate(&alice, false).await.ok();
            ended(&server).await;
            assert_eq!(carol.get(PROFILE).await.ok(), name);
            carol.join(&room).await;
            assert_eq!(carol.event(&room, &event).await["content"]["body"], "hello");
        }

        async fn an_erased_user_is_read_only_by_earlier_members(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let (carol, erin) = (server.register("carol").await, server.register("erin").await);
            let room = alice.create_public_room().await;
            // Erin leaves before anything is sent, and joins again when the erased user's events
            // can no longer be read.
            erin.join(&room).await;
            erin.leave(&room).await;
            let early = alice.send(&room, "early").await;
            bob.join(&room).await;
            let event = alice.send(&room, "hello").await;
            bob.send(&room, "bob").await;
            carol.join(&room).await;
            let seen = carol.event(&room, &event).await;
            assert_eq!(seen["content"]["body"], "hello", "it was shared then");

            deactivate(&alice, true).await.ok();
            assert_eq!(ended(&server).await.state, JobState::Done);
            for reader in [&bob, &carol] {
                assert_eq!(reader.event(&room, &event).await["content"]["body"], "hello");
                assert_eq!(reader.event(&room, &early).await["content"]["body"], "early");
            }
            let dave = server.register("dave").await;
            dave.join(&room).await;
            erin.join(&room).await;
            for reader in [&erin, &dave] {
                assert_eq!(reader.event(&room, &event).await["content"], json!({}));
                let page = reader.get(&in_room(&room, "messages?dir=b&limit=100")).await.ok();
                assert_eq!(bodies(&page["chunk"]), ["bob"]);
                let context = reader.get(&in_room(&room, &format!("context/{event}"))).await.ok();
                assert_eq!(context["event"]["content"], json!({}));
                assert!(bodies(&context["events_before"]).is_empty());
                let filter = "filter={\"room\":{\"timeline\":{\"limit\":100}}}";
                let filter = filter.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
                let sync = reader.get(&format!("/_matrix/client/v3/sync?{filter}")).await.ok();
                assert_eq!(bodies(&sync["rooms"]["join"][&room]["timeline"]["events"]), ["bob"]);
            }
        }

        async fn newcomers_do_not_see_the_name_of_an_erased_user(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let name = json!({ "displayname": "Alice Ames" });
            alice.put(&format!("{PROFILE}/displayname"), name).await.ok();
            let room = alice.create_public_room().await;
            let beacon = json!({ "description": "by Alice Ames" });
            alice.set_state(&room, "m.beacon_info", "@alice:test", beacon).await;
            bob.join(&room).await;
            let event = alice.send(&room, "hello").await;
            let then = bob.get("/_matrix/client/v3/sync").await.ok()["next_batch"].clone();
            let then = encode(then.as_str().unwrap());
            deactivate(&alice, true).await.ok();
            assert_eq!(ended(&server).await.state, JobState::Done);

            let carol = server.register("carol").await;
            carol.join(&room).await;
            let lazily = encode(r#"{"lazy_load_members":true}"#);
            let mut paths = vec![
                in_room(&room, "state"),
                in_room(&room, "state/m.beacon_info/@alice:test"),
                in_room(&room, &format!("members?at={then}")),
                in_room(&room, &format!("context/{event}?limit=0")),
                in_room(&room, &format!("context/{event}?limit=0&filter={lazily}")),
                in_room(&room, &format!("messages?dir=f&limit=100&filter={lazily}")),
                in_room(&room, &format!("messages?dir=f&to={then}&limit=100&filter={lazily}")),
            ];
            for filter in [
                json!({ "room": { "timeline": { "limit": 2 } } }),
                json!({ "room": { "timeline": { "limit": 100 } } }),
                json!({ "room": { "timeline": { "limit": 2 } }, "event_format": "federation" }),
                json!({ "room": {
                    "timeline": { "limit": 2 }, "state": { "lazy_load_members": true },
                } }),
            ] {
                for state in ["", "&use_state_after=true"] {
                    let filter = encode(&filter.to_string());
                    paths.push(format!("/_matrix/client/v3/sync?filter={filter}{state}"));
                }
            }
            for path in &paths {
                let shown = carol.get(path).await.ok().to_string();
                assert!(!shown.contains("Alice Ames"), "{path}: {shown}");
            }
            // Members from that time still see it.
            let members = bob.get(&in_room(&room, &format!("members?at={then}"))).await.ok();
            assert!(members.to_string().contains("Alice Ames"), "{members}");
        }

        async fn state_set_by_an_erased_user_is_shown_to_newcomers(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
            let room = alice.create_room(json!({
                "preset": "public_chat",
                "name": "plans",
                "topic": "words of long ago",
                "initial_state": [{ "type": "m.room.encryption", "content": encryption }],
            })).await;
            alice.set_state(&room, "m.room.topic", "", json!({ "topic": "what counts" })).await;
            deactivate(&alice, true).await.ok();
            assert_eq!(ended(&server).await.state, JobState::Done);
            let carol = server.register("carol").await;
            carol.join(&room).await;

            // One client that has read all of it, and one that has read only the end.
            for limit in [100, 2] {
                let filter = json!({ "room": { "timeline": { "limit": limit } } });
                let filter = encode(&filter.to_string());
                let sync = carol.get(&format!("/_matrix/client/v3/sync?filter={filter}")).await.ok();
                let news = &sync["rooms"]["join"][&room];
                let events = [&news["state"]["events"], &news["timeline"]["events"]];
                let events = events.into_iter().flat_map(|events| events.as_array().unwrap());
                let state: BTreeMap<&str, &Value> = events
                    .filter(|event| event["state_key"] == "")
                    .map(|event| (event["type"].as_str().unwrap(), &event["content"]))
                    .collect();
                assert_eq!(state["m.room.encryption"], &encryption, "limit {limit}");
                assert_eq!(state["m.room.name"], &json!({ "name": "plans" }), "limit {limit}");
                assert_eq!(state["m.room.topic"]["topic"], "what counts", "limit {limit}");
            }
            let page = carol.get(&in_room(&room, "messages?dir=b&limit=100")).await.ok();
            assert!(!page.to_string().contains("long ago"), "{page}");
        }

        async fn an_erased_user_leaves_no_data(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            alice.put(&format!("{PROFILE}/displayname"), json!({ "displayname": "A" })).await.ok();
            let mut filter = Value::Null;
            for number in 0..50 {
                let path = format!("/_matrix/client/v3/user/@alice:test/account_data/t.{number}");
                alice.put(&path, json!({ "n": number })).await.ok();
                let path = "/_matrix/client/v3/user/@alice:test/filter";
                let definition = json!({ "room": { "timeline": { "limit": number + 1 } } });
                filter = alice.post(path, definition).await.ok()["filter_id"].clone();
            }
            deactivate(&alice, true).await.ok();
            assert_eq!(ended(&server).await.state, JobState::Done);
            assert_eq!(bob.get(PROFILE).await.ok(), json!({}));
            let mut conn = server.state().store.read().await.unwrap();
            let user_id = user_id!("@alice:test");
            assert_eq!(account_data::all(&mut conn, user_id).await.unwrap(), []);
            let filter = filter.as_str().unwrap();
            assert_eq!(filters::find(&mut conn, user_id, filter).await.unwrap(), None);
        }

        async fn the_job_alone_does_it_all(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            // The state left by a node that went down in the middle of the request.
            let actor = Actor::user(user_id!("@alice:test"));
            let parameters = json!({ "user_id": "@alice:test", "erase": false }).to_string();
            let jobs = &server.state().jobs;
            jobs.enqueue(&actor, KIND, &parameters, Duration::ZERO).await.unwrap();
            assert_eq!(ended(&server).await.state, JobState::Done);
            alice.get(WHOAMI).await.refused(401, "M_UNKNOWN_TOKEN");
            assert_eq!(membership(&bob, &room).await, "leave");
            assert!(server.state().accounts.users.find(&actor.user_id).await.unwrap().unwrap().is_deactivated);
        }
    }

    fn bodies(events: &Value) -> Vec<&str> {
        let events = events.as_array().unwrap().iter();
        events.filter_map(|event| event["content"]["body"].as_str()).collect()
    }

    #[test]
    fn an_erased_user_is_erased_on_every_node_at_once() {
        run_on(Backend::Postgres, async |db| {
            // The second node may be older and lack the stream of erased users.
            let lacking = TestDatabase::create(db.backend()).await.unwrap();
            let store = lacking.store().await;
            surgery::hide_stream(&store, Stream::Erasure).await;
            for db in [db, &lacking] {
                let (first, second) = (TestServer::start(db).await, deaf(db).await);
                let alice = first.register("alice").await;
                let carol = second.register("carol").await;
                let room = alice.create_public_room().await;
                let event = alice.send(&room, "hello").await;
                carol.join(&room).await;
                assert_eq!(carol.event(&room, &event).await["content"]["body"], "hello");
                deactivate(&alice, true).await.ok();
                ended(&first).await;
                let dave = second.register("dave").await;
                dave.join(&room).await;
                assert_eq!(dave.event(&room, &event).await["content"], json!({}));
                assert_eq!(carol.event(&room, &event).await["content"]["body"], "hello");
                // The same on a node that reads it from the database.
                let third = deaf(db).await;
                let dave = third.client().with_token(dave.token().unwrap());
                assert_eq!(dave.event(&room, &event).await["content"], json!({}));
                let carol = third.client().with_token(carol.token().unwrap());
                assert_eq!(carol.event(&room, &event).await["content"]["body"], "hello");
            }
            assert!(surgery::hidden_batches(&store).await > 0, "the first node has not said it");
        });
    }

    /// A node that reads the log only when a request needs it, and leaves jobs to other nodes.
    async fn deaf(db: &TestDatabase) -> TestServer {
        TestServer::start_with(db, |_, environment| {
            environment.jobs.at_once = 0;
            environment.tailer.announce = false;
            environment.tailer.interval = Duration::from_secs(3_600);
        })
        .await
    }
}
