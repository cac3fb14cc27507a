//! `POST /_matrix/client/v3/join/{roomIdOrAlias}` and
//! `POST /_matrix/client/v3/rooms/{roomId}/join`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>,
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedRoomOrAliasId, RoomId,
    api::client::membership::{join_room_by_id, join_room_by_id_or_alias},
};
use stoa_accounts::{Profiles, Session};
use stoa_base::Actor;
use stoa_directory::Directory;
use stoa_http::{Answer, FreeForm, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use super::take_reason;
use crate::ops::{change_membership::change_membership, find_room::find_room};

/// A join by alias or ID, with a body of which unknown keys go into the member event.
pub(crate) type ByIdOrAlias =
    FreeForm<join_room_by_id_or_alias::v3::Request, (OwnedRoomOrAliasId,)>;

/// The same by ID only.
pub(crate) type ById = FreeForm<join_room_by_id::v3::Request, (OwnedRoomId,)>;

/// Joins a room by its alias or ID.
pub(crate) async fn join_by_id_or_alias(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    State(directory): State<Arc<Directory>>,
    request: RumaSend<ByIdOrAlias>,
) -> Result<Answer<join_room_by_id_or_alias::v3::Response>> {
    let (actor, FreeForm { path: (id_or_alias,), body, .. }) = (request.actor(), request.body);
    let room = find_room(&rooms, &directory, &id_or_alias).await?;
    join(&rooms, &profiles, &actor, &request.session, &room.id, body).await?;
    Ok(Answer(join_room_by_id_or_alias::v3::Response::new(room.id.clone())))
}

/// Joins a room by its ID.
pub(crate) async fn join_by_id(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    State(directory): State<Arc<Directory>>,
    request: RumaSend<ById>,
) -> Result<Answer<join_room_by_id::v3::Response>> {
    let (actor, FreeForm { path: (room_id,), body, .. }) = (request.actor(), request.body);
    let room = find_room(&rooms, &directory, (&*room_id).into()).await?;
    join(&rooms, &profiles, &actor, &request.session, &room.id, body).await?;
    Ok(Answer(join_room_by_id::v3::Response::new(room_id)))
}

async fn join(
    rooms: &Rooms,
    profiles: &Profiles,
    actor: &Actor,
    session: &Session,
    room_id: &RoomId,
    mut content: CanonicalJsonObject,
) -> Result<()> {
    let reason = take_reason(&mut content)?;
    // The proof of an invite by e-mail address, which is not for the event as it is.
    content.remove("third_party_signed");
    let change = MembershipChange::Join(content);
    change_membership(rooms, profiles, actor, session, room_id, change, reason).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode, in_room};

    both_databases! {
        async fn a_public_room_is_joined_by_id_or_alias_with_no_body(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let public = json!({ "preset": "public_chat", "room_alias_name": "ä🎉" });
            let room = alice.create_room(public).await;
            let alias = encode("#ä🎉:test");
            for (user, path) in [
                ("bob", format!("/_matrix/client/v3/join/{}", encode(&room))),
                ("charlie", format!("/_matrix/client/v3/join/{alias}")),
                ("dave", in_room(&room, "join")),
                ("eve", format!("/_matrix/client/r0/join/{alias}?server_name=elsewhere")),
            ] {
                let user = server.register(user).await;
                let joined = user.request(http::Method::POST, &path).send().await.ok();
                assert_eq!(joined, json!({ "room_id": room }));
                let member = alice.state(&room, "m.room.member", &user.user_id).await;
                assert_eq!(member, json!({ "membership": "join" }));
            }
        }

        async fn unknown_keys_go_into_the_event(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let public = json!({ "preset": "public_chat", "room_alias_name": "here" });
            let room = alice.create_room(public).await;
            for (user, path) in [
                ("bob", format!("/_matrix/client/v3/join/{}", encode(&room))),
                ("charlie", in_room(&room, "join")),
                ("dave", "/_matrix/client/v3/join/%23here:test".to_owned()),
            ] {
                let user = server.register(user).await;
                let name = format!("/_matrix/client/v3/profile/{}/displayname", user.user_id);
                user.put(&name, json!({ "displayname": "Me" })).await.ok();
                let body = json!({
                    "foo": "bar", "reason": "why", "displayname": "Mallory", "membership": "ban",
                    "third_party_signed": { "any": "thing" },
                });
                user.post(&path, body).await.ok();
                let member = alice.state(&room, "m.room.member", &user.user_id).await;
                let expected = json!({
                    "membership": "join", "foo": "bar", "reason": "why", "displayname": "Me",
                });
                assert_eq!(member, expected);
                let wrong = user.post(&path, json!({ "reason": 1 })).await;
                wrong.refused(400, "M_BAD_JSON");
            }
        }

        async fn joining_twice_makes_one_event(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_public_room().await;
            bob.join(&room).await;
            let member = async || {
                let path = in_room(&room, "state/m.room.member/@bob:test?format=event");
                alice.get(&path).await.ok()["event_id"].clone()
            };
            let first = member().await;
            bob.join(&room).await;
            assert_eq!(member().await, first);
        }

        async fn a_private_room_is_not_joined_uninvited(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({ "preset": "private_chat" })).await;
            let path = in_room(&room, "join");
            bob.post(&path, json!({})).await.refused(403, "M_FORBIDDEN");
            alice.invite(&room, &bob.user_id).await;
            bob.post(&path, json!({})).await.ok();
        }

        async fn a_room_that_is_not_there_is_not_found(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for room in ["!nowhere:test", "#nowhere:test", "#nowhere:elsewhere"] {
                let path = format!("/_matrix/client/v3/join/{}", encode(room));
                alice.post(&path, json!({})).await.refused(404, "M_NOT_FOUND");
            }
            let path = "/_matrix/client/v3/join/nothing";
            alice.post(path, json!({})).await.refused(400, "M_INVALID_PARAM");
        }
    }
}
