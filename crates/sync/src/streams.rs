//! What streams are read from.

use std::sync::Arc;

use stoa_cluster::{Tailer, Waiters};
use stoa_ephemeral::Typing;
use stoa_push::ReadState;
use stoa_rooms::Rooms;
use stoa_storage::Store;
use tokio_util::sync::CancellationToken;

use crate::{ChangeIndex, known_members::KnownMembers, stream::summary::Heroes};

/// All that is needed to tell clients what is new. It is built once.
#[derive(Debug)]
pub struct Streams {
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

/// What streams are built from.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The reader of the log.
    pub tailer: Arc<Tailer>,
    /// Who waits for news.
    pub waiters: Waiters,
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// When what last changed, which follows the log.
    pub changes: Arc<ChangeIndex>,
    /// Who is typing.
    pub typing: Typing,
    /// How far everybody has read.
    pub read_state: Arc<ReadState>,
    /// Cancelled when the server stops: nobody waits any longer.
    pub stopping: CancellationToken,
}

impl Streams {
    /// Puts the parts together.
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
