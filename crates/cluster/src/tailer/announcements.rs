//! Nodes tell one another that there is news. Hints only: with every one of them lost, news takes
//! until the tailer's next look at the log.

use std::{sync::Arc, time::Duration};

use stoa_storage::{
    Result,
    log::{self, Listener},
};

use super::Tailer;

/// How long to wait before trying again to listen or to announce.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// At least this long passes between two announcements of one node: what is committed meanwhile
/// is announced together.
const GAP: Duration = Duration::from_millis(5);

/// Announces this node's commits, and nudges the tailer when others announce theirs. Never ends.
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
                tracing::warn!(%error, "news could not be announced");
                RETRY_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn listen(tailer: &Tailer) {
    loop {
        if let Err(error) = listen_once(tailer).await {
            tracing::warn!(%error, "announcements cannot be heard");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn listen_once(tailer: &Tailer) -> Result<()> {
    let Some(mut listener) = Listener::connect(&tailer.store).await? else { return Ok(()) };
    loop {
        // What was announced while nobody listened is not known: one look finds it.
        if listener.next().await?.is_none_or(|head| head > tailer.applied()) {
            tailer.nudge();
        }
    }
}
