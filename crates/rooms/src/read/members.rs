//! The members of rooms, and what others see of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{UserId, events::room::member::MembershipState};
use serde::Deserialize;
use serde_json::value::RawValue;
use stoa_base::{MemberProfile, RoomNid};
use stoa_storage::{Store, repo};

use crate::{
    cache::{memberships::MembershipCache, room::Room},
    error::{Result, RoomError},
};

/// How many members are read at once.
const PAGE: i64 = 1_000;

/// The profile in a member event. Users can write anything there; a profile that cannot be parsed
/// counts as empty.
fn profile(event: &str) -> MemberProfile {
    #[derive(Deserialize)]
    struct MemberEvent<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    #[derive(Default, Deserialize)]
    struct Content {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    let content = serde_json::from_str::<MemberEvent<'_>>(event).map(|event| event.content.get());
    let content: Content = content.and_then(serde_json::from_str).unwrap_or_default();
    MemberProfile { displayname: content.displayname, avatar_url: content.avatar_url }
}

/// Finds the members of rooms.
#[derive(Clone, Debug)]
pub struct Members {
    pub(crate) store: Store,
    pub(crate) memberships: Arc<MembershipCache>,
}

impl Members {
    /// The joined members of a room, by user ID, each with their profile in that room. `reader`
    /// must be joined too.
    pub async fn joined(
        &self,
        reader: &UserId,
        room: &Room,
    ) -> Result<BTreeMap<String, MemberProfile>> {
        let membership = self.memberships.in_room(reader, room).await?;
        if !membership.is_some_and(|row| row.is_joined()) {
            return Err(RoomError::forbidden("You are not in this room"));
        }
        let mut members = BTreeMap::new();
        let mut after = String::new();
        let mut conn = self.store.snapshot().await?;
        loop {
            let page = repo::memberships::joined_events(&mut conn, room.nid, &after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(members) };
            after.clone_from(last);
            members.extend(page.into_iter().map(|(user_id, event)| (user_id, profile(&event))));
        }
    }

    /// The first `limit` users in each of these rooms whose membership is one of `memberships`, in
    /// the order in which it became current.
    pub async fn unchecked_first(
        &self,
        rooms: impl IntoIterator<Item = RoomNid>,
        memberships: [MembershipState; 2],
        limit: i64,
    ) -> Result<HashMap<RoomNid, Vec<String>>> {
        let mut conn = self.store.read().await?;
        let memberships = memberships.each_ref().map(MembershipState::as_str);
        let found = repo::memberships::first_of_rooms(&mut conn, rooms, memberships, limit).await?;
        Ok(found.into_iter().collect())
    }
}
