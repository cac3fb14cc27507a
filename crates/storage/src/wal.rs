//! Keeps SQLite's write-ahead log small.
//!
//! SQLite starts the log over only when nobody is reading from it. Under load there is always a
//! reader, so the log would grow without end, and every read, which has to search it, would become
//! slower. So when the log has become too large, new readers are held off until the current ones
//! are done, which takes milliseconds, and the log is emptied.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{Executor as _, FromRow, SqlitePool};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio_util::task::AbortOnDropHandle;

use crate::{Error, Result};

/// The size at which the log is emptied. SQLite by itself tries to empty it from 4 MiB on.
const LIMIT: u64 = 32 << 20;

/// How often the size is checked, and the longest pause after attempts that failed.
const INTERVAL: Duration = Duration::from_millis(250);
const LONGEST_INTERVAL: Duration = Duration::from_secs(4);

/// How long to wait for current readers, while new ones are held off. After that the attempt is
/// given up: some reader takes longer, or is waiting for a second admission while holding one.
const PATIENCE: Duration = Duration::from_millis(250);

/// Waits briefly for readers that bypass the gate, such as an admin's `sqlite3`.
const BEFORE: &str = "PRAGMA busy_timeout = 100";
const EMPTY: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
/// The setting of the writing connection.
const AFTERWARDS: &str = "PRAGMA busy_timeout = 10000";

/// The write-ahead log of a database. It is watched until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Wal {
    file: Arc<Path>,
    gate: Arc<RwLock<()>>,
    _watching: Arc<AbortOnDropHandle<()>>,
}

/// While this is held, the log is not emptied.
pub(crate) type Admission = OwnedRwLockReadGuard<()>;

impl Wal {
    /// Watches the write-ahead log of the database in `file`, which `writer` writes to.
    pub(crate) fn watch(file: &Path, writer: SqlitePool) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push("-wal");
        let file: Arc<Path> = PathBuf::from(name).into();
        let gate = Arc::new(RwLock::new(()));
        let watching = tokio::spawn(watch(Arc::clone(&file), Arc::clone(&gate), writer));
        Self { file, gate, _watching: Arc::new(AbortOnDropHandle::new(watching)) }
    }

    /// Admits a reader.
    pub(crate) async fn admit(&self) -> Admission {
        Arc::clone(&self.gate).read_owned().await
    }

    /// The size of the log in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        size(&self.file)
    }
}

async fn watch(file: Arc<Path>, gate: Arc<RwLock<()>>, writer: SqlitePool) {
    let mut interval = INTERVAL;
    loop {
        tokio::time::sleep(interval).await;
        let bytes = size(&file);
        if bytes <= LIMIT {
            interval = INTERVAL;
            continue;
        }
        interval = match empty(&gate, &writer).await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::debug!(%error, bytes, "SQLite's write-ahead log was not emptied");
                (interval * 2).min(LONGEST_INTERVAL)
            }
        };
    }
}

/// Empties the log at a moment when nobody is reading.
async fn empty(gate: &RwLock<()>, writer: &SqlitePool) -> Result<()> {
    let quiet = async { Ok::<_, Error>((gate.write().await, writer.acquire().await?)) };
    let quiet = tokio::time::timeout(PATIENCE, quiet).await;
    let (_closed, mut conn) = quiet.map_err(|_| Error::Timeout("readers of SQLite"))??;
    conn.execute(BEFORE).await?;
    let emptied = conn.fetch_one(EMPTY).await;
    conn.execute(AFTERWARDS).await?;
    // A reader in the way is not an error; the first column of the answer reports it.
    let (was_blocked,): (i64,) = FromRow::from_row(&emptied?)?;
    if was_blocked == 0 { Ok(()) } else { Err(Error::Timeout("readers that bypass the gate")) }
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}
