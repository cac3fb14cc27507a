//! What the news is read from.

use std::sync::Arc;

use stoa_cluster::{Tailer, Waiters};
use stoa_ephemeral::Typing;
use stoa_push::ReadState;
use stoa_rooms::Rooms;
use stoa_storage::Store;
use tokio_util::sync::CancellationToken;

use crate::{ChangeIndex, known_members::KnownMembers, news::summary::Heroes};

/// Everything needed to find what is new for clients. It is built once.
#[derive(Debug)]
pub struct Sources {
    pub(crate) store: Store,
    pub(crate) tailer: Arc<Tailer>,
    pub(crate) waiters: Waiters,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) changes: Arc<ChangeIndex>,
    pub(crate) typing: Typing,
    pub(crate) read_state: Arc<ReadState>,
    pub(crate) stopping: CancellationToken,
    pub(crate) heroes: Heroes,
    pub(crate) known: KnownMembers,
}

/// What the sources are built from.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The tailer, which follows the log.
    pub tailer: Arc<Tailer>,
    /// The requests that wait for news.
    pub waiters: Waiters,
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// When each room and user last changed. The index follows the log.
    pub changes: Arc<ChangeIndex>,
    /// The typing lists.
    pub typing: Typing,
    /// Read markers and receipts.
    pub read_state: Arc<ReadState>,
    /// Cancelled when the server stops, which ends all waiting.
    pub stopping: CancellationToken,
}

impl Sources {
    /// Combines the parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, tailer, waiters, rooms, changes, typing, read_state, stopping } = parts;
        Self {
            store,
            tailer,
            waiters,
            rooms,
            changes,
            typing,
            read_state,
            stopping,
            heroes: Heroes::new(),
            known: KnownMembers::new(),
        }
    }
}
