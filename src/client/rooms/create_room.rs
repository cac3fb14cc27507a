//! `POST /_matrix/client/v3/createRoom`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::collections::BTreeSet;

use axum::extract::State;
use http::StatusCode;
use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedUserId, RoomAliasId,
    api::{
        client::room::{
            Visibility,
            create_room::v3::{Request, Response, RoomPreset},
        },
        error::ErrorKind,
    },
    events::StateEventType,
    serde::Raw,
};
use serde::{Deserialize, de::DeserializeOwned};
use stoa_base::Actor;
use stoa_directory::{DirectoryError, Reservation};
use stoa_rooms::{CreateRoom, MemberProfile, Preset};

use super::change_membership::{check_invitee, member_profile};
use crate::{
    app::AppState,
    http::{Answer, Error, Result, RumaSend},
};

/// How many users a room may begin with, and how many entries of state may be given: all of it is
/// written at once.
const MAX_INVITES: usize = 500;
const MAX_INITIAL_STATE: usize = 500;

/// Creates a room.
pub(crate) async fn create_room(
    State(state): State<AppState>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session, body) = (request.actor(), request.session, request.body);
    state.limits.message(&actor.user_id)?;
    let is_public = match body.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(Error::invalid_param("`visibility` is `public` or `private`.")),
    };
    let alias = body.room_alias_name.clone();
    let mut create = read(&state, &actor, body).await?;
    let reservation = match alias {
        Some(name) => Some(reserve(&state, &actor, &name).await?),
        None => None,
    };
    create.canonical_alias = reservation.as_ref().map(|reserved| reserved.alias().to_string());

    let work = finish(state, actor, session.token_hash.clone(), create, reservation, is_public);
    // In a task of its own: a client that hangs up leaves no room without its alias.
    let created = tokio::spawn(work).await.map_err(Error::internal)??;
    Ok(Answer(Response::new(created)))
}

/// Creates the room, and puts it where others find it.
async fn finish(
    state: AppState,
    actor: Actor,
    token_hash: String,
    create: CreateRoom,
    reservation: Option<Reservation>,
    is_public: bool,
) -> Result<OwnedRoomId> {
    let room_id = match state.rooms.create(&actor, Some(&token_hash), create).await {
        Ok(room_id) => room_id,
        Err(error) => {
            if let Some(reservation) = reservation {
                state.directory.release(reservation).await?;
            }
            return Err(error.into());
        }
    };
    let room = state.rooms.room(&room_id).await?;
    if let Some(reservation) = reservation {
        state.directory.add(reservation, &room).await?;
    }
    if is_public {
        state.directory.publish(&room).await?;
    }
    Ok(room_id)
}

async fn reserve(state: &AppState, actor: &Actor, name: &str) -> Result<Reservation> {
    let alias = state.directory.local_alias(name)?;
    match state.directory.reserve(actor, &alias).await {
        Err(DirectoryError::Taken) => Err(in_use(&alias)),
        reserved => Ok(reserved?),
    }
}

fn in_use(alias: &RoomAliasId) -> Error {
    let message = format!("`{alias}` leads to another room.");
    Error::new(StatusCode::BAD_REQUEST, ErrorKind::RoomInUse, message)
}

/// The room that the request describes, without its alias.
async fn read(state: &AppState, actor: &Actor, body: Request) -> Result<CreateRoom> {
    if !body.invite_3pid.is_empty() {
        return Err(Error::invalid_param("Users are invited by their Matrix ID here."));
    }
    if body.invite.len() > MAX_INVITES {
        let message = format!("A room may begin with {MAX_INVITES} invited users at most.");
        return Err(Error::too_large(message));
    }
    if body.initial_state.len() > MAX_INITIAL_STATE {
        let message = format!("A room may begin with {MAX_INITIAL_STATE} entries of state.");
        return Err(Error::too_large(message));
    }
    let preset = match (body.preset, body.visibility) {
        (None, Visibility::Public) | (Some(RoomPreset::PublicChat), _) => Preset::PublicChat,
        (None, _) | (Some(RoomPreset::PrivateChat), _) => Preset::PrivateChat,
        (Some(RoomPreset::TrustedPrivateChat), _) => Preset::TrustedPrivateChat,
        (Some(unknown), _) => {
            return Err(Error::invalid_param(format!("There is no preset `{unknown}`.")));
        }
    };
    let mut invite: Vec<(OwnedUserId, MemberProfile)> = Vec::new();
    for invitee in body.invite.into_iter().collect::<BTreeSet<_>>() {
        check_invitee(state, &invitee)?;
        let profile = member_profile(state, &invitee).await?;
        invite.push((invitee, profile));
    }
    let initial_state = body.initial_state.iter().map(initial_state).collect::<Result<_>>()?;
    Ok(CreateRoom {
        version: body.room_version,
        preset,
        creation_content: optional(body.creation_content.as_ref())?,
        power_level_override: optional(body.power_level_content_override.as_ref())?,
        canonical_alias: None,
        initial_state,
        name: body.name,
        topic: body.topic,
        invite,
        is_direct: body.is_direct,
        profile: member_profile(state, &actor.user_id).await?,
    })
}

fn initial_state<T>(given: &Raw<T>) -> Result<(StateEventType, String, CanonicalJsonObject)> {
    #[derive(Deserialize)]
    struct InitialState {
        #[serde(rename = "type")]
        kind: StateEventType,
        #[serde(default)]
        state_key: String,
        content: CanonicalJsonObject,
    }
    let InitialState { kind, state_key, content } = parse(given)?;
    Ok((kind, state_key, content))
}

fn optional<T>(given: Option<&Raw<T>>) -> Result<CanonicalJsonObject> {
    given.map_or_else(|| Ok(CanonicalJsonObject::new()), parse)
}

fn parse<T, U: DeserializeOwned>(given: &Raw<T>) -> Result<U> {
    serde_json::from_str(given.json().get()).map_err(|error| Error::bad_json(error.to_string()))
}
