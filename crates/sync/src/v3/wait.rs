//! Waiting for news.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stoa_base::{RoomNid, TimeSpent};
use stoa_cluster::Wait;
use stoa_rooms::Memberships;
use tokio::time::Instant;

use crate::{Reader, Sources};

/// How long a client may wait at most.
pub const MAX_TIMEOUT: Duration = Duration::from_mins(2);

/// A reader who waits for news of their account and of the rooms that they are in.
pub(crate) struct Waiting {
    wait: Wait,
    memberships: Memberships,
    rooms: Arc<BTreeSet<RoomNid>>,
    _counted: Counted,
}

impl Waiting {
    pub(crate) fn register(sources: &Sources, reader: &Reader, memberships: Memberships) -> Self {
        let rooms = Arc::clone(memberships.joined());
        let wait = sources.waiters.register_user(&reader.user_id, &rooms);
        Self { wait, memberships, rooms, _counted: Counted::new() }
    }

    /// Whether this waits for all rooms that the reader is in now.
    pub(crate) fn covers(&self, memberships: &Memberships) -> bool {
        Arc::ptr_eq(&self.memberships, memberships) || self.rooms == *memberships.joined()
    }

    /// Waits for something that may be news. Returns whether it came before the deadline.
    #[tracing::instrument(name = "wait_for_news", level = "debug", skip_all)]
    pub(crate) async fn news(&self, sources: &Sources, deadline: Instant) -> bool {
        let _spending = TimeSpent::on_news();
        tokio::select! {
            () = self.wait.changed() => !sources.stopping.is_cancelled(),
            () = tokio::time::sleep_until(deadline) => false,
            () = sources.stopping.cancelled() => false,
        }
    }
}

/// Counts waiting requests, for the metrics.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("stoa_waiting_syncs").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("stoa_waiting_syncs").decrement(1.0);
    }
}
