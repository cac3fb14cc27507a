//! Work that a client that hangs up does not leave half-way.

use stoa_base::TimeSpent;
use tracing::Instrument as _;

use crate::{Error, Result};

/// Does the work in a task of its own, which goes on where nobody waits for it any more. It is
/// followed, and what it waits for counts, as part of the request.
pub async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let work = TimeSpent::carry(work).in_current_span();
    tokio::spawn(work).await.map_err(Error::internal)
}
