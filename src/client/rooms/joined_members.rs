//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use ruma::api::client::membership::joined_members::v3::Request;
use serde::{Deserialize, Serialize};
use stoa_rooms::{Rooms, state::Part};

use crate::http::{Error, Result, Ruma, respond::Json};

/// Like ruma's, with `null` where a member has no name or avatar: clients read the keys.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    joined: BTreeMap<String, Member>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Member {
    #[serde(rename(deserialize = "displayname"), default)]
    display_name: Option<String>,
    #[serde(default)]
    avatar_url: Option<String>,
}

/// Lists the joined members of a room that the user is joined to.
pub(crate) async fn get_joined_members(
    State(rooms): State<Arc<Rooms>>,
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Json<Response>> {
    let refusal = || Error::forbidden("You are not in this room");
    let room = rooms.room(&body.room_id).await.map_err(|_| refusal())?;
    let membership = rooms.membership(&session.user_id, &room).await?;
    if membership.is_none_or(|row| row.membership != "join") {
        return Err(refusal());
    }
    let state = rooms.committed(&room).await?.state;
    let members = rooms.state_events(state, Part::Members).await?;
    let joined = members
        .iter()
        .filter(|event| event.membership().as_deref() == Some("join"))
        .filter_map(|event| {
            let member = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
            Some((event.pdu.state_key.clone()?, member))
        })
        .collect();
    Ok(Json(Response { joined }))
}
