//! The users who were erased at their wish when their account was closed.
//!
//! All of them are in memory, at about a hundred bytes each: only users of this server whose accounts
//! are closed can be among them.

use std::{collections::HashMap, sync::Arc};

use ruma::OwnedUserId;
use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper, LogValue};
use stoa_storage::{
    Store,
    log::{Stream, Topic},
    repo::erasure,
};

use crate::error::{Result, RoomError};

/// The erased users, each with when that was.
#[derive(Debug)]
pub(crate) struct ErasedUsers {
    store: Store,
    known: LogValue<Arc<HashMap<OwnedUserId, Pos>>>,
}

impl ErasedUsers {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: LogValue::default() }
    }

    /// All of them, as this node has applied the log.
    pub(crate) async fn all(&self) -> Result<Arc<HashMap<OwnedUserId, Pos>>> {
        let read = async || {
            let read = erasure::erased_users(&mut self.store.read().await?).await?;
            Ok::<_, RoomError>(Arc::new(read.into_iter().collect()))
        };
        self.known.get_or_read(read).await
    }
}

impl CacheKeeper for ErasedUsers {
    fn apply(&self, batch: Batch<'_>) {
        // This only says that somebody may have been erased, so the users are read again.
        let is_erasure = |(stream, topic): (Stream, &Topic)| {
            stream == Stream::Erasure && matches!(topic, Topic::User(_))
        };
        if batch.touched.iter().any(is_erasure) {
            self.clear(batch.last);
        }
    }

    fn clear(&self, _: Pos) {
        self.known.clear();
    }
}
