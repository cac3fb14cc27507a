//! Which rooms a user is in, for readers that ask often.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use moka::sync::Cache;
use ruma::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::{
    Store,
    log::{Stream, Topic},
    repo::{self, memberships::MembershipRow},
};

use crate::{MemberProfile, Result, Room, RoomError, Rooms};

/// How many members are read at once.
const PAGE: i64 = 1_000;

/// A user's current membership of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The room.
    pub room: RoomNid,
    /// `join`, `invite`, `leave`, `ban` or `knock`.
    pub membership: String,
    /// The member event.
    pub event: EventNid,
    /// Whether somebody else sent it.
    pub by_other: bool,
    /// When it became current.
    pub pos: Pos,
    /// Whether the user has forgotten the room.
    pub forgotten: bool,
}

impl From<MembershipRow> for Membership {
    fn from(row: MembershipRow) -> Self {
        Self {
            room: row.room,
            by_other: row.sender != row.user_id,
            membership: row.membership,
            event: row.event,
            pos: row.pos,
            forgotten: row.forgotten,
        }
    }
}

/// All memberships of a user, past ones too, by room.
pub type Memberships = Arc<HashMap<RoomNid, Membership>>;

/// The memberships of users who asked lately.
#[derive(Debug)]
pub(crate) struct MembershipCache {
    store: Store,
    by_user: Cache<String, Memberships>,
    /// Counts what made entries stale, so that a read that began before is not kept.
    generation: AtomicU64,
}

impl MembershipCache {
    pub(crate) fn new(store: Store, users: u64) -> Self {
        Self { store, by_user: Cache::new(users), generation: AtomicU64::new(0) }
    }

    async fn of(&self, user_id: &UserId) -> Result<Memberships> {
        if let Some(memberships) = self.by_user.get(user_id.as_str()) {
            return Ok(memberships);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let mut conn = self.store.read().await?;
        let rows = repo::memberships::of_user(&mut conn, user_id.as_str()).await?;
        let memberships: Memberships =
            Arc::new(rows.into_iter().map(|row| (row.room, row.into())).collect());
        self.by_user.insert(user_id.to_string(), Arc::clone(&memberships));
        if self.generation.load(Ordering::SeqCst) != generation {
            self.by_user.invalidate(user_id.as_str());
        }
        Ok(memberships)
    }
}

impl CacheKeeper for MembershipCache {
    fn apply(&self, batch: Batch<'_>) {
        for (stream, topic) in batch.touched.iter() {
            match (stream, topic) {
                (Stream::Membership, Topic::User(user_id)) => {
                    self.generation.fetch_add(1, Ordering::SeqCst);
                    self.by_user.invalidate(user_id);
                }
                // What a newer version has changed of the room may be anybody's membership.
                (Stream::Membership, Topic::Room(_)) => self.clear(batch.last),
                _ => {}
            }
        }
    }

    fn clear(&self, _: Pos) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.by_user.invalidate_all();
    }
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

impl Rooms {
    /// All memberships of a user, as this node has applied them.
    pub async fn memberships(&self, user_id: &UserId) -> Result<Memberships> {
        self.memberships.of(user_id).await
    }

    /// A user's membership of one room, as this node has applied it.
    pub async fn membership(&self, user_id: &UserId, room: &Room) -> Result<Option<Membership>> {
        Ok(self.memberships.of(user_id).await?.get(&room.nid).cloned())
    }

    /// Who is joined to a room that `reader` is joined to, by user ID, each with what others see of
    /// them there.
    pub async fn joined_members(
        &self,
        reader: &UserId,
        room: &Room,
    ) -> Result<BTreeMap<String, MemberProfile>> {
        let membership = self.membership(reader, room).await?;
        if membership.is_none_or(|row| row.membership != "join") {
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

    /// The invited members of a room, by user ID, at most `limit`.
    pub async fn invited_members(&self, room: &Room, limit: i64) -> Result<Vec<MembershipRow>> {
        let mut conn = self.store.read().await?;
        Ok(repo::memberships::of_room(&mut conn, room.nid, "invite", limit).await?)
    }
}
