//! `POST /_matrix/client/v3/knock/{roomIdOrAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias>

use std::sync::Arc;

use axum::extract::State;
use ruma::{
    OwnedRoomOrAliasId,
    api::client::knock::knock_room::v3::{Request as RumaRequest, Response},
};
use stoa_accounts::Profiles;
use stoa_directory::Directory;
use stoa_http::{Answer, FreeForm, Result, RumaSend};
use stoa_rooms::{MembershipChange, Rooms};

use crate::ops::{change_membership::change_membership, find_room::find_room, reason::take_reason};

/// Like ruma's, which does not accept an empty body.
pub(crate) type Request = FreeForm<RumaRequest, (OwnedRoomOrAliasId,)>;

/// Asks to be let into a room.
pub(crate) async fn knock_room(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    State(directory): State<Arc<Directory>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, FreeForm { path: (id_or_alias,), mut body, .. }) = (request.actor(), request.body);
    let room = find_room(&rooms, &directory, &id_or_alias).await?;
    let reason = take_reason(&mut body)?;
    let (session, change) = (&request.session, MembershipChange::Knock);
    change_membership(&rooms, &profiles, &actor, session, &room.id, change, reason).await?;
    Ok(Answer(Response::new(room.id.clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases, encode};

    both_databases! {
        async fn knocking_needs_a_join_rule_that_allows_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = alice.create_room(json!({ "room_alias_name": "door" })).await;
            let path = format!("/_matrix/client/v3/knock/{}", encode("#door:test"));
            bob.post(&path, json!({})).await.refused(403, "M_FORBIDDEN");
            let rule = json!({ "join_rule": "knock" });
            alice.set_state(&room, "m.room.join_rules", "", rule).await;
            let knocked = bob.post(&path, json!({ "reason": "please" })).await.ok();
            assert_eq!(knocked, json!({ "room_id": room }));
            let member = alice.state(&room, "m.room.member", "@bob:test").await;
            assert_eq!(member, json!({ "membership": "knock", "reason": "please" }));
            alice.invite(&room, "@bob:test").await;
            bob.join(&room).await;
            let nowhere = format!("/_matrix/client/v3/knock/{}", encode("#nowhere:test"));
            bob.post(&nowhere, json!({})).await.refused(404, "M_NOT_FOUND");
        }
    }
}
