//! `POST /_matrix/client/v3/join/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedRoomOrAliasId,
    api::client::membership::join_room_by_id_or_alias::v3::{Request as RumaRequest, Response},
};
use stoa_accounts::Profiles;
use stoa_directory::Directory;
use stoa_http::{Answer, FreeForm, Result, RumaSend};
use stoa_rooms::Rooms;

use crate::ops::{find_room::find_room, join_room::join_room};

/// Like ruma's, but keeps unknown keys of the body, which go into the member event.
pub(crate) type Request = FreeForm<RumaRequest, (OwnedRoomOrAliasId,)>;

/// Joins a room by its alias or ID.
pub(crate) async fn join_room_by_id_or_alias(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    State(directory): State<Arc<Directory>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, FreeForm { path: (id_or_alias,), body, .. }) = (request.actor(), request.body);
    let room = find_room(&rooms, &directory, &id_or_alias).await?;
    join_room(&rooms, &profiles, &actor, &request.session, &room.id, body).await?;
    Ok(Answer(Response::new(room.id.clone())))
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

        async fn an_unknown_room_is_not_found(db: TestDatabase) {
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
