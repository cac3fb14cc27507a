//! Internal numbers, drawn from the deployment's counter in blocks.

use std::sync::atomic::{AtomicBool, Ordering};

use stoa_base::Nid;
use tokio::sync::Mutex;

use crate::{Result, Store};

const BLOCK: i64 = 10_000;

/// Hands out internal numbers. Numbers that are never used leave gaps, which do no harm.
#[derive(Debug)]
pub struct NidAllocator {
    store: Store,
    block: Mutex<std::ops::Range<Nid>>,
    discarded: AtomicBool,
}

impl NidAllocator {
    /// An allocator that draws its blocks of numbers from `store`.
    pub fn new(store: Store) -> Self {
        Self { store, block: Mutex::new(0..0), discarded: AtomicBool::new(false) }
    }

    /// The next `count` numbers, which are consecutive.
    pub async fn take(&self, count: u32) -> Result<std::ops::Range<Nid>> {
        let count = i64::from(count);
        let mut block = self.block.lock().await;
        if self.discarded.swap(false, Ordering::AcqRel) {
            *block = 0..0;
        }
        if block.end - block.start < count {
            let size = BLOCK.max(count);
            let mut conn = self.store.write().await?;
            let (end,): (i64,) = conn
                .one(
                    "UPDATE counters SET value = value + $1 WHERE name = 'nid' RETURNING value",
                    &[size.into()],
                )
                .await?;
            conn.commit().await?;
            *block = end - size..end;
        }
        let taken = block.start..block.start + count;
        block.start = taken.end;
        Ok(taken)
    }

    /// Discards the numbers that are drawn but not handed out. If the database was restored to an
    /// earlier moment, another node may have drawn them again.
    pub fn discard(&self) {
        self.discarded.store(true, Ordering::Release);
    }
}
