//! Watches the background tasks. If one of them has ended, the server may still answer but is of no
//! use, so it exits and is started again.

use std::future::Future;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// Notices when a part ends before the server stops. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    stopping: CancellationToken,
    broken: CancellationToken,
}

impl Watch {
    /// A watch until `stopping`.
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Self { stopping, broken: CancellationToken::new() }
    }

    /// Watches the part that runs as `task`. The returned task ends with it, and aborts it if it is
    /// itself aborted.
    pub(super) fn over(
        &self,
        part: &'static str,
        task: impl Future<Output = Result<(), JoinError>> + Send + 'static,
    ) -> JoinHandle<()> {
        let watch = self.clone();
        tokio::spawn(async move {
            let ended = task.await;
            if watch.stopping.is_cancelled() {
                return;
            }
            let error =
                ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            tracing::error!(part, error, "a part broke that the server cannot do without");
            watch.broken.cancel();
        })
    }

    /// Returns when a part has failed.
    pub(super) async fn broken(&self) {
        self.broken.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    fn watch() -> Watch {
        Watch::new(CancellationToken::new())
    }

    #[tokio::test]
    #[expect(clippy::panic, reason = "this is what is tested")]
    async fn a_part_that_panics_or_ends_is_noticed() {
        let (one, other) = (watch(), watch());
        one.over("one", tokio::spawn(async { panic!("on purpose") }));
        other.over("other", tokio::spawn(async {}));
        timeout(LONG, one.broken()).await.expect("noticed");
        timeout(LONG, other.broken()).await.expect("noticed");
    }

    #[tokio::test]
    async fn a_part_may_end_when_the_server_stops() {
        let watch = watch();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let part = watch.over("part", tokio::spawn(async { stopped.await.unwrap_or_default() }));
        watch.stopping.cancel();
        stop.send(()).expect("it listens");
        part.await.expect("an end");
        timeout(SHORT, watch.broken()).await.expect_err("nothing broke");
    }

    #[tokio::test]
    async fn a_part_ends_with_its_watch() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let part = tokio::spawn(async move {
            let _alive = alive;
            std::future::pending().await
        });
        let part = watch().over("part", AbortOnDropHandle::new(part));
        drop(AbortOnDropHandle::new(part));
        timeout(LONG, ended).await.expect("it ended").expect_err("without a word");
    }
}
