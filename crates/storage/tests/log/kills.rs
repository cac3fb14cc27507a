//! A node can be killed at any moment: what it has acknowledged exists, and nothing is half
//! written.

use std::time::{Duration, Instant};

use stoa_base::RoomNid;
use stoa_storage::{Backend, Store};
use stoa_testing::both_databases;

use crate::{
    node_process::{self, NodeProcess},
    witness,
};

const KILLS: i64 = 50;
const CALLERS: i64 = 50;

both_databases! {
    async fn acknowledged_appends_survive_fifty_kills(db: TestDatabase) {
        db.store().await.close().await;
        let (mut appends, mut acknowledged) = (0, 0);
        let mut loaded = Duration::ZERO;
        for room in (1..=KILLS).map(RoomNid) {
            let process = NodeProcess::new(db.url(), room).callers(CALLERS).start();
            let started = Instant::now();
            // The moment is random, and the node is in full swing.
            let mut lines = Vec::new();
            for _ in 0..rand::random_range(CALLERS..5 * CALLERS) {
                lines.push(process.next_line().expect("a node that runs"));
            }
            std::thread::sleep(Duration::from_micros(rand::random_range(0..4_000)));
            lines.extend(process.kill());
            loaded += started.elapsed();

            let told = node_process::told(&lines);
            assert_eq!(told.written.len(), lines.len(), "every append succeeded");
            // On SQLite nobody else has the database open, so this recovers it.
            let store = db.open().await;
            let found = witness::find(&store, room).await;
            told.check(&found);
            appends += found.len();
            acknowledged += told.written.len();
            store.close().await;
        }
        #[expect(clippy::cast_precision_loss, reason = "it is shown, and nothing depends on it")]
        let rate = acknowledged as f64 / loaded.as_secs_f64();
        println!("{KILLS} kills, {acknowledged} appends acknowledged, {rate:.0}/s, {appends} found");

        let store = db.open().await;
        wait_for_orphans(&store).await;
        let mut found = 0;
        for room in (1..=KILLS).map(RoomNid) {
            found += witness::find(&store, room).await.len();
        }
        // Writes of a killed node's last call may have become visible meanwhile.
        assert!(found >= appends);
        witness::check_log(&store, found, usize::try_from(KILLS).unwrap()).await;
    }
}

/// Waits until PostgreSQL has finished everything that killed nodes asked of it.
async fn wait_for_orphans(store: &Store) {
    const ORPHANS: &str = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'stoa-log'";
    if store.backend() == Backend::Postgres {
        let mut conn = store.read().await.unwrap();
        while conn.one::<(i64,)>(ORPHANS, &[]).await.unwrap() != (0,) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
