//! Work that runs to its end even if the client hangs up.

use stoa_base::TimeSpent;
use tracing::Instrument as _;

use crate::{Error, Result};

/// Runs the work in its own task, which continues if the caller is canceled. Its spans and waits
/// are still counted as part of the request.
pub async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let work = TimeSpent::carry(work).in_current_span();
    tokio::spawn(work).await.map_err(Error::internal)
}
