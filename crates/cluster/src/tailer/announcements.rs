//! Nodes announce their commits to one another. These are only hints: if all of them are lost, news
//! waits for the tailer's next read of the log.

use std::{sync::Arc, time::Duration};

use stoa_storage::{
    Result,
    log::{self, Listener},
};

use super::Tailer;

/// How long to wait before trying again to listen or to announce.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The minimum time between two announcements of one node. Commits in between are announced
/// together.
const GAP: Duration = Duration::from_millis(5);

/// Announces this node's commits, and nudges the tailer when others announce theirs. Never returns.
pub(super) async fn exchange(tailer: &Arc<Tailer>) {
    tokio::join!(announce(tailer), listen(tailer));
}

async fn announce(tailer: &Tailer) {
    loop {
        tailer.committed.notified().await;
        let announced = async {
            let head = tailer.applied();
            log::announce(&mut tailer.store.read().await?, head).await
        };
        let pause = match announced.await {
            Ok(()) => GAP,
            Err(error) => {
                tracing::warn!(%error, "commits could not be announced");
                RETRY_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn listen(tailer: &Tailer) {
    loop {
        if let Err(error) = listen_once(tailer).await {
            tracing::warn!(%error, "listening for announcements failed");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn listen_once(tailer: &Tailer) -> Result<()> {
    let Some(mut listener) = Listener::connect(&tailer.store).await? else { return Ok(()) };
    loop {
        // Announcements may have been missed while nobody listened, so the log is read once.
        if listener.next().await?.is_none_or(|head| head > tailer.applied()) {
            tailer.nudge();
        }
    }
}
