//! One room in memory: what is committed of it, and the head that the next event is built on.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId, room_version_rules::RoomVersionRules};
use stoa_base::{EventNid, Pos, RoomNid, StateNid};
use stoa_cluster::{Batch, LogValue};
use stoa_storage::{
    Error,
    log::{Append, Chain},
    repo::rooms::RoomHeadRow,
};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::graph::event::Event;

/// A room that this server knows.
#[derive(Debug)]
pub struct Room {
    /// Its internal number.
    pub nid: RoomNid,
    /// Its Matrix ID.
    pub id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// The rules of its version.
    pub rules: Arc<RoomVersionRules>,
    /// The head that new events are built on, one at a time.
    pub(crate) head: AsyncMutex<Option<Head>>,
    /// How many appends of this node to the room have not been answered yet.
    pub(crate) in_flight: watch::Sender<usize>,
    /// Whether the room has moved other than by what was built on `head`.
    stale: AtomicBool,
    /// What is committed of the room.
    pub(crate) committed: LogValue<Committed>,
    /// The chain that `head` was last made from, for callers that must not wait for `head`.
    chain: Mutex<Weak<Chain>>,
    /// How often the log has lost something that the room may depend on.
    losses: AtomicU64,
}

/// A room as of everything that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The current state.
    pub state: StateNid,
    /// When the current state last changed.
    pub state_pos: Pos,
    /// When the timeline last moved.
    pub head_pos: Pos,
    /// How many members are joined.
    pub joined: i64,
    /// How many members are invited.
    pub invited: i64,
    /// The head of the log at which this was read, or to which it was brought up to date.
    as_of: Pos,
}

impl Committed {
    pub(crate) const fn new(row: &RoomHeadRow, as_of: Pos) -> Self {
        Self {
            state: row.state_root,
            state_pos: row.state_pos,
            head_pos: row.head_pos,
            joined: row.joined,
            invited: row.invited,
            as_of,
        }
    }

    /// The room after a batch of this node, or none if other nodes wrote in between.
    fn with_own(
        mut self,
        room: RoomNid,
        batch: Batch<'_>,
        appends: &[(Pos, Append)],
    ) -> Option<Self> {
        if self.as_of > batch.prev {
            return (self.as_of >= batch.last).then_some(self);
        }
        for (base, append) in appends {
            for update in append.room_updates.iter().filter(|row| row.room_nid == room) {
                self.state = update.state_root.unwrap_or(self.state);
                if let Some(pos) = update.state_pos {
                    self.state_pos = Pos(base.0 + pos.0);
                }
                if let Some(pos) = update.head_pos {
                    self.head_pos = Pos(base.0 + pos.0);
                }
                self.joined += update.joined;
                self.invited += update.invited;
            }
        }
        self.as_of = batch.last;
        Some(self)
    }
}

/// What the next event of a room is built on. It may be ahead of what is committed.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) chain: Arc<Chain>,
    pub(crate) extremities: Vec<Extremity>,
    pub(crate) state: StateNid,
}

/// A forward extremity.
#[derive(Clone, Debug)]
pub(crate) struct Extremity {
    pub(crate) nid: EventNid,
    pub(crate) event_id: OwnedEventId,
    pub(crate) depth: u64,
    pub(crate) state_after: StateNid,
}

impl Extremity {
    /// Makes an extremity of an event that no known event follows.
    pub(crate) fn of(event: &Event) -> Result<Self, Error> {
        let no_state = || Error::corrupt("an extremity has no state");
        Ok(Self {
            nid: event.nid,
            event_id: event.pdu.event_id.clone(),
            depth: event.pdu.depth,
            state_after: event.state_after.ok_or_else(no_state)?,
        })
    }
}

impl Room {
    pub(crate) fn new(
        nid: RoomNid,
        id: OwnedRoomId,
        version: RoomVersionId,
        rules: Arc<RoomVersionRules>,
    ) -> Self {
        Self {
            nid,
            id,
            version,
            rules,
            head: AsyncMutex::new(None),
            in_flight: watch::Sender::new(0),
            stale: AtomicBool::new(false),
            committed: LogValue::default(),
            chain: Mutex::default(),
            losses: AtomicU64::new(0),
        }
    }

    /// Waits until every append of this node to the room has been answered.
    pub(crate) async fn settled(&self) {
        let mut in_flight = self.in_flight.subscribe();
        // The sender lives as long as `self`.
        let _ = in_flight.wait_for(|count| *count == 0).await;
    }

    /// Whether a head that was loaded earlier must no longer be built on. Resets the flag.
    pub(crate) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }

    /// How often the log has lost something that the room may depend on.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// Applies a batch that touched the room.
    pub(crate) fn apply(&self, batch: Batch<'_>) {
        self.committed.update(|known| {
            if let Some(appends) = batch.appends {
                return known.and_then(|known| known.with_own(self.nid, batch, appends));
            }
            self.stale.store(true, Ordering::Release);
            let read = batch.rows.and_then(|rows| {
                rows.rooms.get(&self.nid).map(|row| Committed::new(row, rows.as_of))
            });
            let known = known.filter(|known| known.as_of >= batch.last);
            known.into_iter().chain(read).max_by_key(|known| known.as_of)
        });
    }

    /// A chain that starts from the room as it was read when the number of losses was `losses`, or
    /// none if there has been another loss since. The next loss breaks the chain.
    pub(crate) fn start_chain(&self, row: &RoomHeadRow, losses: u64) -> Option<Arc<Chain>> {
        let chain = Arc::new(Chain::new(self.nid, row.state_pos, row.head_pos));
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&chain);
        (self.losses() == losses).then_some(chain)
    }

    /// Drops what is in memory of the room, and prevents anything built on it from being written.
    pub(crate) fn forget(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        let chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(chain) = chain {
            chain.note_loss();
        }
        self.clear();
    }

    pub(crate) fn clear(&self) {
        self.committed.update(|_| {
            self.stale.store(true, Ordering::Release);
            None
        });
    }
}
