//! The thread that ties the appends of one room together.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use stoa_base::{Pos, RoomNid};

/// What appends to one room that were built one on another have in common.
///
/// An event may be built on one that is not flushed yet. If that one fails, everything built on it
/// must fail too: the first failure breaks the chain, and the writer refuses what is still queued on
/// it. Whoever loads the room anew starts a new chain.
#[derive(Debug)]
pub struct Chain {
    room: RoomNid,
    broken: AtomicBool,
    moved_elsewhere: AtomicBool,
    state_pos: AtomicI64,
    head_pos: AtomicI64,
}

impl Chain {
    /// A chain that starts from the room as the database has it.
    pub fn new(room: RoomNid, state_pos: Pos, head_pos: Pos) -> Self {
        Self {
            room,
            broken: AtomicBool::new(false),
            moved_elsewhere: AtomicBool::new(false),
            state_pos: AtomicI64::new(state_pos.0),
            head_pos: AtomicI64::new(head_pos.0),
        }
    }

    /// The room.
    pub fn room(&self) -> RoomNid {
        self.room
    }

    /// When the room's state last changed, as far as this chain has seen it committed.
    pub fn state_pos(&self) -> Pos {
        Pos(self.state_pos.load(Ordering::Acquire))
    }

    /// When the room's extremities last changed, as far as this chain has seen it committed.
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

    /// Notes that another node has written to the room: what changes its state is to be built anew,
    /// on what that node wrote too. The positions alone do not tell, once an append of the chain
    /// has been committed after the other node's.
    pub fn note_moved_elsewhere(&self) {
        self.moved_elsewhere.store(true, Ordering::Release);
    }

    pub(crate) fn has_moved_elsewhere(&self) -> bool {
        self.moved_elsewhere.load(Ordering::Acquire)
    }

    /// Notes what an append of the chain has committed.
    pub(crate) fn committed(&self, state_pos: Option<Pos>, head_pos: Option<Pos>) {
        if let Some(pos) = state_pos {
            self.state_pos.store(pos.0, Ordering::Release);
        }
        if let Some(pos) = head_pos {
            self.head_pos.store(pos.0, Ordering::Release);
        }
    }
}
