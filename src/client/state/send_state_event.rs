//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedRoomId,
    api::client::state::send_state_event::v3::{Request as RumaRequest, Response},
    events::StateEventType,
};
use serde::Deserialize;
use stoa_cluster::Freshness;
use stoa_directory::Directory;
use stoa_http::{Answer, FreeForm, Result, RumaSend};
use stoa_rooms::Rooms;

use crate::ops::{find_room::known_room, state_checks};

/// Like ruma's, with canonical content.
pub(crate) type Request = FreeForm<RumaRequest, Path>;

/// The variables of the path. It can end before the state key, which is then empty.
#[derive(Debug, Deserialize)]
pub(crate) struct Path {
    room_id: OwnedRoomId,
    kind: StateEventType,
    #[serde(default)]
    state_key: String,
}

/// Sends a state event. If the state already has this content, nothing is sent.
pub(crate) async fn send_state_event(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    State(freshness): State<Freshness>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session) = (request.actor(), request.session);
    let FreeForm { path: Path { room_id, kind, state_key }, body: content, .. } = request.body;
    let room = known_room(&rooms, &room_id).await?;
    let entry = (&kind, &*state_key);
    let sender = &actor.user_id;
    state_checks::check(&rooms, &directory, &freshness, sender, &room, entry, &content).await?;
    let session = Some(&*session.id);
    let event_id =
        rooms.sending.send_state(&actor, session, &room, kind, &state_key, content).await?;
    Ok(Answer(Response::new(event_id)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn the_key_can_be_left_out(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let set = async |path: &str, value: u8| {
                let answer = alice.put(&in_room(&room, path), json!({ "v": value })).await.ok();
                answer["event_id"].as_str().unwrap().to_owned()
            };
            let get = async |path: &str| alice.get(&in_room(&room, path)).await.ok()["v"].clone();
            for (value, path) in [(1, "state/a.b"), (2, "state/a.b/")] {
                let id = set(path, value).await;
                let event = alice.event(&room, &id).await;
                assert_eq!((&event["state_key"], &event["type"]), (&json!(""), &json!("a.b")));
                assert_eq!(get("state/a.b").await, value);
                assert_eq!(get("state/a.b/").await, value);
            }
            set("state/a.b/k%2F%20%C3%A9", 3).await;
            assert_eq!(get("state/a.b/k%2F%20%C3%A9").await, 3);
            assert_eq!(get("state/a.b").await, 2);
            let r0 = format!("/_matrix/client/r0/rooms/{}/state/a.b/", encode(&room));
            assert_eq!(alice.put(&r0, json!({ "v": 4 })).await.status, 200);
            assert_eq!(alice.get(&r0).await.ok(), json!({ "v": 4 }));
        }

        async fn unchanged_state_is_not_sent_again(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let set = async |topic: &str| {
                alice.set_state(&room, "m.room.topic", "", json!({ "topic": topic })).await
            };
            let first = set("a").await;
            assert_eq!(set("a").await, first);
            assert_ne!(set("b").await, first);
            assert_ne!(set("a").await, first);
        }

        async fn bodies_are_checked_like_those_of_messages(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_public_room().await;
            let path = in_room(&room, "state/a.b");
            alice.put(&path, json!("x")).await.refused(400, "M_BAD_JSON");
            alice.put(&path, json!({ "x": 0.5 })).await.refused(400, "M_BAD_JSON");
            let large = json!({ "x": "x".repeat(70_400) });
            alice.put(&path, large).await.refused(413, "M_TOO_LARGE");
            let long = in_room(&room, &format!("state/a.b/{}", "k".repeat(256)));
            alice.put(&long, json!({})).await.refused(413, "M_TOO_LARGE");
            let nul = in_room(&room, "state/a.b/k%00");
            alice.put(&nul, json!({})).await.refused(400, "M_BAD_JSON");
        }

        async fn a_level_is_needed_and_can_be_given_up(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room =
                alice.create_room(json!({ "preset": "public_chat", "room_version": "11" })).await;
            bob.join(&room).await;
            let levels = in_room(&room, "state/m.room.power_levels");
            bob.put(&levels, json!({})).await.refused(403, "M_FORBIDDEN");
            alice.put(&levels, json!({})).await.ok();
            alice.put(&levels, json!({ "users": {} })).await.refused(403, "M_FORBIDDEN");
            assert_eq!(alice.get(&levels).await.ok(), json!({}));
        }

        async fn the_creator_can_lower_the_default_level(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let levels = |users_default: i64| {
                json!({
                    "users_default": users_default, "users": { "@alice:test": 100 }, "events": {},
                    "notifications": { "room": 50 },
                })
            };
            let request = json!({
                "room_version": "11", "power_level_content_override": levels(100),
            });
            let room = alice.create_room(request).await;
            alice.set_state(&room, "m.room.power_levels", "", levels(40)).await;
        }

        async fn levels_are_kept_as_they_were_set(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({ "room_version": "11" })).await;
            let levels = json!({
                "invite": 100, "users": { "@alice:test": 100, "@somebody:elsewhere": 20 },
            });
            let set = alice.set_state(&room, "m.room.power_levels", "", levels.clone()).await;
            assert_eq!(alice.event(&room, &set).await["content"], levels);
            assert_eq!(alice.state(&room, "m.room.power_levels", "").await, levels);
        }

        async fn setting_state_does_not_get_around_the_join_rules(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let space = alice.create_public_room().await;
            let room = alice.create_room(json!({})).await;
            let allow = json!([{ "type": "m.room_membership", "room_id": space }]);
            let rule = json!({ "join_rule": "restricted", "allow": allow });
            alice.set_state(&room, "m.room.join_rules", "", rule).await;
            let forged = json!({
                "membership": "join", "join_authorised_via_users_server": "@alice:test",
            });
            let path = in_room(&room, "state/m.room.member/@bob:test");
            bob.put(&path, forged.clone()).await.refused(403, "M_FORBIDDEN");
            bob.post(&in_room(&room, "join"), forged.clone()).await.refused(403, "M_FORBIDDEN");
            bob.join(&space).await;
            bob.put(&path, forged).await.ok();
        }

        async fn only_users_of_this_server_can_be_invited(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            server.register("bob").await;
            let room = alice.create_room(json!({})).await;
            let invite = json!({ "membership": "invite" });
            let path = in_room(&room, "state/m.room.member/@bob:elsewhere");
            alice.put(&path, invite.clone()).await.refused(403, "M_FORBIDDEN");
            alice.set_state(&room, "m.room.member", "@bob:test", invite).await;
        }

        async fn a_redaction_is_no_state(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({})).await;
            let sent = alice.send(&room, "hello").await;
            for path in ["state/m.room.redaction", "state/m.room.redaction/x"] {
                let content = json!({ "redacts": sent });
                let answer = alice.put(&in_room(&room, path), content).await;
                answer.refused(400, "M_INVALID_PARAM");
            }
        }

        async fn a_main_alias_leads_to_the_room(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({ "room_alias_name": "here" })).await;
            alice.create_room(json!({ "room_alias_name": "there" })).await;
            let path = in_room(&room, "state/m.room.canonical_alias");
            for (content, code) in [
                (json!({ "alias": "#nowhere:test" }), "M_BAD_ALIAS"),
                (json!({ "alias": "#there:test" }), "M_BAD_ALIAS"),
                (json!({ "alias": "#x:elsewhere" }), "M_BAD_ALIAS"),
                (json!({ "alias": "%invalid:test" }), "M_INVALID_PARAM"),
                (json!({ "alias": 1 }), "M_BAD_JSON"),
                (json!({ "alias": "#here:test", "alt_aliases": ["#nowhere:test"] }), "M_BAD_ALIAS"),
                (json!({ "alias": "#here:test", "alt_aliases": ["#there:test"] }), "M_BAD_ALIAS"),
                (json!({ "alias": "#here:test", "alt_aliases": ["%x:test"] }), "M_INVALID_PARAM"),
                (json!({ "alt_aliases": "#here:test" }), "M_BAD_JSON"),
            ] {
                alice.put(&path, content).await.refused(400, code);
            }
            for content in [
                json!({ "alias": "#here:test", "alt_aliases": ["#here:test"] }),
                json!({ "alt_aliases": ["#here:test"] }),
                json!({ "alias": null }),
                json!({}),
            ] {
                alice.put(&path, content).await.ok();
            }
            alice.delete("/_matrix/client/v3/directory/room/%23here:test").await.ok();
            let deleted = alice.put(&path, json!({ "alias": "#here:test" })).await;
            deleted.refused(400, "M_BAD_ALIAS");
        }

        async fn outsiders_do_not_learn_which_aliases_a_room_has(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({ "room_alias_name": "here" })).await;
            alice.delete("/_matrix/client/v3/directory/room/%23here:test").await.ok();
            let path = in_room(&room, "state/m.room.canonical_alias");
            for alias in ["#here:test", "#nowhere:test"] {
                let answer = bob.put(&path, json!({ "alias": alias })).await;
                answer.refused(403, "M_FORBIDDEN");
            }
        }
    }
}
