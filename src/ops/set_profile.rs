//! Changing a profile, also in the rooms that the user is in.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use stoa_accounts::ProfileError;
use stoa_base::Actor;
use stoa_rooms::{MemberProfile, Room};

use crate::{
    app::AppState,
    http::{Error, Result},
};

/// How many rooms are written to at the same time.
const ROOMS_AT_ONCE: usize = 16;

/// Sets a field of the actor's profile, or deletes it. A name or avatar is changed in his rooms, too.
pub(crate) async fn set_profile_field(
    state: &AppState,
    actor: &Actor,
    field: &str,
    value: Option<&Value>,
) -> Result<()> {
    let change = state.accounts.set_profile_field(actor, field, value).await;
    let change = change.map_err(|error: ProfileError| Error::from(error))?;
    if change.is_change() && matches!(field, "displayname" | "avatar_url") {
        // In a task of its own: a client that hangs up leaves no room behind.
        let update = update_profile_in_rooms(state.clone(), actor.clone());
        tokio::spawn(update).await.map_err(Error::internal)??;
    }
    Ok(())
}

/// Writes the actor's profile into all rooms that he is joined to.
async fn update_profile_in_rooms(state: AppState, actor: Actor) -> Result<()> {
    loop {
        let profile = profile_of(&state, &actor).await?;
        let memberships = state.rooms.memberships(&actor.user_id).await?;
        let joined = memberships.values().filter(|row| row.membership == "join");
        let mut rooms: Vec<Arc<Room>> = Vec::new();
        for membership in joined {
            rooms.push(state.rooms.room_by_nid(membership.room).await?);
        }
        let mut updates = stream::iter(rooms)
            .map(|room| {
                let (state, actor, profile) = (state.clone(), actor.clone(), profile.clone());
                async move {
                    let done = state.rooms.update_member_profile(&actor, &room, &profile).await;
                    (room, done)
                }
            })
            .buffer_unordered(ROOMS_AT_ONCE);
        while let Some((room, done)) = updates.next().await {
            if let Err(error) = done {
                // He may have left meanwhile; and one room must not keep the others from it.
                tracing::info!(room_id = %room.id, %error, "a profile was not changed in a room");
            }
        }
        // Where another request changed it meanwhile, whichever comes last writes what stands.
        if profile_of(&state, &actor).await? == profile {
            return Ok(());
        }
    }
}

async fn profile_of(state: &AppState, actor: &Actor) -> Result<MemberProfile> {
    let profile = state.accounts.member_profile(&actor.user_id).await?;
    Ok(MemberProfile { displayname: profile.displayname, avatar_url: profile.avatar_url })
}
