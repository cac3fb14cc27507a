//! Connects the appends of one room that were built on one another.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use stoa_base::{Pos, RoomNid};

/// Used as the position of a room that was moved from outside the chain. No room has it.
const MOVED_ELSEWHERE: i64 = -1;

/// Shared by the appends to one room that were built one on another.
///
/// An event may be built on one that is not flushed yet. If that one fails, everything built on it
/// must fail too: the first failure breaks the chain, and the writer refuses the chain's appends
/// that are still queued. Reloading the room starts a new chain.
#[derive(Debug)]
pub struct Chain {
    room: RoomNid,
    broken: AtomicBool,
    lost: AtomicBool,
    state_pos: AtomicI64,
    head_pos: AtomicI64,
}

impl Chain {
    /// A chain that starts from the room as it is in the database.
    pub fn new(room: RoomNid, state_pos: Pos, head_pos: Pos) -> Self {
        Self {
            room,
            broken: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            state_pos: AtomicI64::new(state_pos.0),
            head_pos: AtomicI64::new(head_pos.0),
        }
    }

    /// The room that the chain belongs to.
    pub fn room(&self) -> RoomNid {
        self.room
    }

    /// The position of the room's last state change that this chain has seen committed.
    pub fn state_pos(&self) -> Pos {
        Pos(self.state_pos.load(Ordering::Acquire))
    }

    /// The position of the room's last change of extremities that this chain has seen committed.
    pub fn head_pos(&self) -> Pos {
        Pos(self.head_pos.load(Ordering::Acquire))
    }

    /// Whether an append of the chain has failed.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Makes every append of the chain that is still queued fail.
    pub fn break_off(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// Notes that the log has lost what the chain starts from, or what was committed of it. None of
    /// its appends may be written any more, not even those queued before one that has failed.
    pub fn note_loss(&self) {
        self.lost.store(true, Ordering::Release);
        self.break_off();
    }

    /// Whether the log has lost what the chain is built on.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Notes that the room has extremities that the chain does not know of, such as those of an
    /// event that another node wrote. An append that is guarded by the room's state alone may still
    /// be built on the chain; one that is guarded by the whole room conflicts from now on. The
    /// positions alone would not show this once an append of the chain is committed after the other
    /// event.
    pub fn note_moved_elsewhere(&self) {
        self.head_pos.store(MOVED_ELSEWHERE, Ordering::Release);
    }

    /// Notes what an append of the chain has committed.
    pub(crate) fn committed(&self, state_pos: Option<Pos>, head_pos: Option<Pos>) {
        if let Some(pos) = state_pos {
            self.state_pos.store(pos.0, Ordering::Release);
        }
        if let Some(pos) = head_pos {
            // If the room was moved elsewhere at the same time, that mark stays.
            let known = |known: i64| (known != MOVED_ELSEWHERE).then_some(pos.0);
            let _ = self.head_pos.fetch_update(Ordering::AcqRel, Ordering::Acquire, known);
        }
    }
}
