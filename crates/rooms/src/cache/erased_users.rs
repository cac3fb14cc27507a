//! Users who asked to be erased when their account was deactivated.
//!
//! All of them are in memory, at about a hundred bytes each. Only users of this server with a
//! deactivated account can be among them.

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

/// The erased users, each with the position of the erasure.
#[derive(Debug)]
pub(crate) struct ErasedUsers {
    store: Store,
    known: LogValue<Arc<HashMap<OwnedUserId, Pos>>>,
}

impl ErasedUsers {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: LogValue::default() }
    }

    /// All erased users, as of what this node has applied of the log.
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
        // The batch says only that somebody may have been erased, so the users are read again.
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
