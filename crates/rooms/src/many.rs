//! Reading many rooms at once, for a reader who has many: a few queries for all of them together.

use std::{collections::HashMap, sync::Arc};

use ruma::UserId;
use stoa_base::{Pos, RoomNid};
use stoa_storage::repo::{self, state::StateChange};

use crate::{Page, Result, Room, Rooms, Seen, events::Event};

impl Rooms {
    /// The rooms with these numbers. [`Rooms::committed`] of any of them reads no table afterwards,
    /// unless it is touched meanwhile.
    pub async fn rooms_by_nid(
        &self,
        nids: impl IntoIterator<Item = RoomNid>,
    ) -> Result<HashMap<RoomNid, Arc<Room>>> {
        self.rooms.get_many(nids).await
    }

    /// The newest events of each of these rooms up to `up_to`, at most `limit` a room, oldest first.
    /// `more` says that there are older ones.
    pub async fn newest_of_rooms(
        &self,
        rooms: impl IntoIterator<Item = RoomNid>,
        up_to: Pos,
        limit: usize,
    ) -> Result<HashMap<RoomNid, Page>> {
        let found = {
            let mut conn = self.store.read().await?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            repo::events::newest_nids(&mut conn, rooms, up_to, limit).await?
        };
        let nids = found.iter().flat_map(|(_, nids)| nids.iter().copied());
        let events = self.events.get_many(nids).await?;
        let pages = found.into_iter().map(|(room, nids)| {
            let mut page: Vec<Arc<Event>> =
                nids.iter().filter_map(|nid| events.get(nid)).cloned().collect();
            page.sort_unstable_by_key(|event| event.order);
            let surplus = page.len().saturating_sub(limit);
            page.drain(..surplus);
            (room, Page { events: page, more: surplus > 0 })
        });
        Ok(pages.collect())
    }

    /// What `reader` may see of these events of any of `rooms`, in their order.
    pub async fn see_in(
        &self,
        reader: &UserId,
        rooms: impl IntoIterator<Item = &Arc<Room>>,
        events: &[Arc<Event>],
    ) -> Result<Vec<Seen>> {
        let mut last_joined = HashMap::new();
        for room in rooms {
            last_joined.insert(room.nid, self.last_joined(reader, room).await?);
        }
        self.see_in_rooms(reader, &last_joined, events).await
    }

    /// How a user's membership of each of these rooms changed after `after`, in order.
    pub async fn membership_changes(
        &self,
        user_id: &UserId,
        rooms: impl IntoIterator<Item = RoomNid>,
        after: Pos,
    ) -> Result<HashMap<RoomNid, Vec<StateChange>>> {
        let rows = {
            let mut conn = self.store.read().await?;
            repo::state::changes_of_entry_in_rooms(
                &mut conn,
                rooms,
                "m.room.member",
                user_id.as_str(),
                after,
            )
            .await?
        };
        let mut changes: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
        for (room, change) in rows {
            changes.entry(room).or_default().push(change);
        }
        Ok(changes)
    }

    /// The first `limit` users of each of these rooms, in the order in which their membership, one
    /// of `memberships`, became current.
    pub async fn first_members(
        &self,
        rooms: impl IntoIterator<Item = RoomNid>,
        memberships: [&str; 2],
        limit: i64,
    ) -> Result<HashMap<RoomNid, Vec<String>>> {
        let mut conn = self.store.read().await?;
        let found = repo::memberships::first_of_rooms(&mut conn, rooms, memberships, limit).await?;
        Ok(found.into_iter().collect())
    }
}
