//! Reading many rooms at once, for a reader who has many: a few queries for all of them together.

use std::{collections::HashMap, sync::Arc};

use ruma::{UserId, events::room::member::MembershipState};
use stoa_base::{Allowance, Pos, RoomNid};
use stoa_storage::repo::{self, events::Order, state::StateChange};

use crate::{
    Page, Result, Room, Rooms, Seen, events::Event, state_changes::take_changes,
    timeline::row_limit,
};

/// How many bytes the number of an event takes in lists of them, roughly.
const NUMBER_BYTES: u64 = 32;

/// How many numbers of events are read at once at most.
const MOST_NUMBERS: usize = 50_000;

impl Rooms {
    /// The rooms with these numbers. [`Rooms::committed`] of any of them reads no table afterwards,
    /// unless it is touched meanwhile.
    pub async fn rooms_by_nid(
        &self,
        nids: impl IntoIterator<Item = RoomNid>,
    ) -> Result<HashMap<RoomNid, Arc<Room>>> {
        self.rooms.get_many(nids).await
    }

    /// As [`Rooms::newest`], of each of these rooms, as long as all of them together do not take more
    /// than is allowed. A room without any may be absent.
    pub async fn newest_of_rooms(
        &self,
        rooms: &[&Room],
        since: Pos,
        up_to: Pos,
        limit: usize,
        allowance: &Allowance,
    ) -> Result<HashMap<RoomNid, Page>> {
        let mut pages = HashMap::new();
        let mut missing = Vec::new();
        for room in rooms {
            match self.recent.newest(room.nid, since, up_to, limit) {
                Some(page) => {
                    allowance.take(page.weight())?;
                    pages.insert(room.nid, page);
                }
                None => missing.push(*room),
            }
        }
        if let [room] = missing[..] {
            pages.insert(room.nid, self.newest(room, since, up_to, limit, allowance).await?);
            return Ok(pages);
        }
        if missing.is_empty() {
            return Ok(pages);
        }
        let at_once = (MOST_NUMBERS / limit.saturating_add(1)).max(1);
        for rooms in missing.chunks(at_once) {
            let (rooms, lists): (Vec<_>, Vec<_>) = {
                let mut conn = self.store.read().await?;
                let rooms = rooms.iter().map(|room| room.nid);
                let after = if since == Pos::START { Order::START } else { Order::after(since) };
                let limit = row_limit(limit);
                let found = repo::events::newest_nids(&mut conn, rooms, after, up_to, limit);
                found.await?.into_iter().unzip()
            };
            let numbers = NUMBER_BYTES * lists.iter().map(|nids| nids.len() as u64).sum::<u64>();
            allowance.take(numbers)?;
            let found = self.pages(&lists, limit, allowance).await?;
            allowance.give_back(numbers);
            pages.extend(rooms.into_iter().zip(found.into_iter().map(|mut page| {
                page.events.reverse();
                page
            })));
        }
        Ok(pages)
    }

    /// As [`Rooms::state_changes`], of each of these rooms, as long as all of them together do not
    /// take more than is allowed. A room without any may be absent.
    pub async fn state_changes_of_rooms(
        &self,
        rooms: &[&Room],
        since: Pos,
        up_to: Pos,
        allowance: &Allowance,
    ) -> Result<HashMap<RoomNid, Vec<StateChange>>> {
        let mut changes: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
        let mut missing = Vec::new();
        for room in rooms {
            match self.recent_changes.between(room.nid, since, up_to) {
                Some(found) => {
                    take_changes(allowance, &found)?;
                    changes.insert(room.nid, found);
                }
                None => missing.push(*room),
            }
        }
        if let [room] = missing[..] {
            changes.insert(room.nid, self.state_changes(room, since, up_to, allowance).await?);
        } else if !missing.is_empty() {
            let missing = missing.iter().map(|room| room.nid);
            for (room, change) in self.read_changes(missing, since, up_to, allowance).await? {
                changes.entry(room).or_default().push(change);
            }
        }
        Ok(changes)
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

    /// How a user's membership of each of these rooms changed after `after`, in order. What came
    /// after `up_to` may be left out.
    pub async fn membership_changes(
        &self,
        user_id: &UserId,
        rooms: impl IntoIterator<Item = RoomNid>,
        after: Pos,
        up_to: Pos,
    ) -> Result<HashMap<RoomNid, Vec<StateChange>>> {
        const MEMBER: &str = "m.room.member";
        let mut changes: HashMap<RoomNid, Vec<StateChange>> = HashMap::new();
        let mut missing = Vec::new();
        for room in rooms {
            let Some(recent) = self.recent_changes.between(room, after, up_to) else {
                missing.push(room);
                continue;
            };
            let of_user = recent
                .into_iter()
                .filter(|change| change.kind == MEMBER && change.state_key == user_id.as_str());
            changes.insert(room, of_user.collect());
        }
        changes.retain(|_, changes| !changes.is_empty());
        if missing.is_empty() {
            return Ok(changes);
        }
        let mut conn = self.store.read().await?;
        let rows = repo::state::changes_of_entry_in_rooms(
            &mut conn,
            missing,
            MEMBER,
            user_id.as_str(),
            after,
        )
        .await?;
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
        memberships: [MembershipState; 2],
        limit: i64,
    ) -> Result<HashMap<RoomNid, Vec<String>>> {
        let mut conn = self.store.read().await?;
        let memberships = memberships.each_ref().map(MembershipState::as_str);
        let found = repo::memberships::first_of_rooms(&mut conn, rooms, memberships, limit).await?;
        Ok(found.into_iter().collect())
    }
}
