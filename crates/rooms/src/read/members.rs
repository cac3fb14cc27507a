//! The members of rooms, and what others see of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{UserId, events::room::member::MembershipState};
use serde::Deserialize;
use serde_json::value::RawValue;
use stoa_base::RoomNid;
use stoa_storage::{Store, repo};

use crate::{
    cache::{memberships::MembershipCache, room::Room},
    error::{Result, RoomError},
};

/// How many members are read at once.
const PAGE: i64 = 1_000;

/// What others see of a user in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberProfile {
    /// The display name.
    pub displayname: Option<String>,
    /// The avatar.
    pub avatar_url: Option<String>,
}

/// What a member event says of its user. Users write what they like, and what cannot be understood is
/// nothing.
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

/// Who is in which room.
#[derive(Clone, Debug)]
pub struct Members {
    pub(crate) store: Store,
    pub(crate) memberships: Arc<MembershipCache>,
}

impl Members {
    /// Who is joined to a room that `reader` is joined to, by user ID, each with what others see of
    /// them there.
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

    /// The first `limit` users of each of these rooms, in the order in which their membership, one
    /// of `memberships`, became current.
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
