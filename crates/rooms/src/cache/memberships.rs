//! A cache of users' memberships.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Deref,
    sync::{Arc, OnceLock},
};

use ruma::{UserId, events::room::member::MembershipState};
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper, LogCache};
use stoa_storage::{
    Store,
    log::{self, Stream, Topic},
    repo::{self, memberships::StoredMembership},
};

use crate::{
    cache::room::Room,
    error::{Result, RoomError},
};

/// How many bytes a membership takes in memory, roughly.
const MEMBERSHIP: usize = 96;

/// A user's current membership of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The room.
    pub room: RoomNid,
    /// The membership.
    pub membership: MembershipState,
    /// The member event that set it.
    pub event: EventNid,
    /// Whether somebody else sent the member event.
    pub by_other: bool,
    /// The position at which it became current.
    pub pos: Pos,
    /// Whether the user has forgotten the room.
    pub forgotten: bool,
}

impl Membership {
    fn from_row(row: &StoredMembership) -> Self {
        Self {
            room: row.room,
            by_other: row.sender != row.user_id,
            membership: row.membership.as_str().into(),
            event: row.event,
            pos: row.pos,
            forgotten: row.forgotten,
        }
    }

    /// A membership written by an append whose positions follow `base`.
    fn from_append(row: &log::MembershipRow, base: Pos) -> Self {
        Self {
            room: row.room_nid,
            by_other: row.sender != row.user_id,
            membership: row.membership.as_str().into(),
            event: row.event_nid,
            pos: Pos(base.0 + row.pos.0),
            forgotten: false,
        }
    }

    /// Whether the user is in the room.
    pub fn is_joined(&self) -> bool {
        self.membership == MembershipState::Join
    }
}

/// All memberships of a user, including past ones, by room.
#[derive(Clone, Debug, Default)]
pub struct MembershipsOfUser {
    by_room: HashMap<RoomNid, Membership>,
    joined: OnceLock<Arc<BTreeSet<RoomNid>>>,
}

/// A snapshot of all memberships of a user.
pub type Memberships = Arc<MembershipsOfUser>;

impl Deref for MembershipsOfUser {
    type Target = HashMap<RoomNid, Membership>;

    fn deref(&self) -> &Self::Target {
        &self.by_room
    }
}

impl FromIterator<Membership> for MembershipsOfUser {
    fn from_iter<I: IntoIterator<Item = Membership>>(memberships: I) -> Self {
        let by_room = memberships.into_iter().map(|membership| (membership.room, membership));
        Self { by_room: by_room.collect(), joined: OnceLock::new() }
    }
}

impl MembershipsOfUser {
    /// The rooms that the user is in. The same set is returned until they change.
    pub fn joined(&self) -> &Arc<BTreeSet<RoomNid>> {
        self.joined.get_or_init(|| {
            let joined = self.by_room.values().filter(|membership| membership.is_joined());
            Arc::new(joined.map(|membership| membership.room).collect())
        })
    }

    /// Sets a membership, unless a newer one has been read already.
    fn set(&mut self, membership: Membership) {
        let (room, is_joined) = (membership.room, membership.is_joined());
        if self.by_room.get(&room).is_some_and(|known| known.pos > membership.pos) {
            return;
        }
        self.by_room.insert(room, membership);
        if let Some(joined) = self.joined.get_mut()
            && joined.contains(&room) != is_joined
        {
            let joined = Arc::make_mut(joined);
            if is_joined {
                joined.insert(room)
            } else {
                joined.remove(&room)
            };
        }
    }

    /// Records that a room was forgotten, unless the user joined it again after `last`.
    fn forget(&mut self, room: RoomNid, last: Pos) {
        if let Some(membership) = self.by_room.get_mut(&room) {
            membership.forgotten |= membership.pos <= last;
        }
    }

    fn weight(&self) -> usize {
        256 + self.by_room.len() * MEMBERSHIP
    }
}

/// The memberships of users. Those that were asked for recently are in memory.
#[derive(Debug)]
pub struct MembershipCache {
    store: Store,
    by_user: LogCache<String, Memberships>,
}

impl MembershipCache {
    pub(crate) fn new(store: Store, max_bytes: u64) -> Self {
        let weigh =
            |user_id: &String, memberships: &Memberships| user_id.len() + memberships.weight();
        Self { store, by_user: LogCache::new(max_bytes, weigh) }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.by_user.bytes()
    }

    /// All memberships of a user, as of what this node has applied.
    pub async fn of(&self, user_id: &UserId) -> Result<Memberships> {
        if let Some(memberships) = self.by_user.get(user_id.as_str()) {
            return Ok(memberships);
        }
        let read = async |users: Vec<String>| {
            let mut found = Vec::new();
            for user_id in users {
                let mut conn = self.store.read().await?;
                let rows = repo::memberships::of_user(&mut conn, &user_id).await?;
                found.push((user_id, Arc::new(rows.iter().map(Membership::from_row).collect())));
            }
            Ok::<_, RoomError>(found)
        };
        let mut found = self.by_user.get_or_read([user_id.to_string()], read).await?;
        Ok(found.remove(user_id.as_str()).unwrap_or_default())
    }

    /// A user's membership of one room, as of what this node has applied.
    pub async fn in_room(&self, user_id: &UserId, room: &Room) -> Result<Option<Membership>> {
        Ok(self.of(user_id).await?.get(&room.nid).cloned())
    }
}

impl CacheKeeper for MembershipCache {
    fn apply(&self, batch: Batch<'_>) {
        for (stream, topic) in batch.touched.iter() {
            let user_id = match (stream, topic) {
                (Stream::Membership, Topic::User(user_id)) => user_id,
                // A newer version of this program may have changed any user's membership of the
                // room.
                (Stream::Membership, Topic::Room(_)) => {
                    self.clear(batch.last);
                    continue;
                }
                _ => continue,
            };
            if let Some(appends) = batch.appends {
                self.by_user.update(user_id, |mut memberships| {
                    let changed = Arc::make_mut(&mut memberships);
                    for (base, append) in appends {
                        let entered =
                            append.memberships.iter().filter(|row| row.user_id == *user_id);
                        entered.for_each(|row| changed.set(Membership::from_append(row, *base)));
                        let forgotten = append.forgotten_rooms.iter();
                        let forgotten = forgotten.filter(|row| row.user_id == *user_id);
                        forgotten.for_each(|row| changed.forget(row.room_nid, batch.last));
                    }
                    memberships
                });
            } else if let Some(rows) = batch.rows.and_then(|rows| rows.memberships.get(user_id)) {
                self.by_user.update(user_id, |mut memberships| {
                    let changed = Arc::make_mut(&mut memberships);
                    for row in rows {
                        changed.set(Membership::from_row(row));
                    }
                    memberships
                });
            } else {
                self.by_user.remove(user_id);
            }
        }
    }

    fn clear(&self, _: Pos) {
        self.by_user.clear();
    }
}
