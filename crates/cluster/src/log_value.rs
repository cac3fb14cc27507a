//! A single cached value of the database that follows the log.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value that is read from the database, and dropped or changed as the log says.
///
/// It is like a [`LogCache`](crate::LogCache) with one entry that is never evicted: a value that
/// was read is kept only if the log has not changed or dropped it since the read began.
#[derive(Debug)]
pub struct LogValue<V>(Mutex<Known<V>>);

#[derive(Debug)]
struct Known<V> {
    value: Option<V>,
    /// How often the log has changed or dropped the value.
    changes: u64,
}

/// Marks when the reading of a value began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueTicket(u64);

impl<V> Default for LogValue<V> {
    fn default() -> Self {
        Self(Mutex::new(Known { value: None, changes: 0 }))
    }
}

impl<V: Clone> LogValue<V> {
    /// The value, if it is in memory.
    pub fn get(&self) -> Option<V> {
        self.lock().value.clone()
    }

    /// The value. If it is not in memory, it is read by `read`, and read again if the log changed
    /// it meanwhile.
    pub async fn get_or_read<E, Read>(&self, read: impl Fn() -> Read) -> Result<V, E>
    where
        Read: Future<Output = Result<V, E>>,
    {
        loop {
            if let Some(value) = self.get() {
                return Ok(value);
            }
            let ticket = self.ticket();
            let value = read().await?;
            if self.keep(ticket, value.clone()) {
                return Ok(value);
            }
        }
    }

    /// Must be called before the value is read from the database.
    pub fn ticket(&self) -> ValueTicket {
        ValueTicket(self.lock().changes)
    }

    /// Keeps what was read, unless the log has changed or dropped it since. Returns whether it is
    /// kept.
    pub fn keep(&self, ticket: ValueTicket, value: V) -> bool {
        let mut known = self.lock();
        let is_current = known.changes == ticket.0;
        if is_current {
            known.value = Some(value);
        }
        is_current
    }

    /// Changes the value as the log says, or drops it. Must be called in the order of the log.
    pub fn update(&self, change: impl FnOnce(Option<V>) -> Option<V>) {
        let mut known = self.lock();
        known.changes += 1;
        known.value = change(known.value.take());
    }

    /// Drops the value.
    pub fn clear(&self) {
        self.update(|_| None);
    }

    fn lock(&self) -> MutexGuard<'_, Known<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    #[test]
    fn a_value_read_before_a_change_is_not_kept() {
        let changes: [fn(&LogValue<u64>); 2] =
            [LogValue::clear, |value| value.update(|known| known.map(|known| known + 1))];
        for change in changes {
            let value = LogValue::default();
            let ticket = value.ticket();
            change(&value);
            assert!(!value.keep(ticket, 1));
            assert_eq!(value.get(), None);
            assert!(value.keep(value.ticket(), 2));
            assert_eq!(value.get(), Some(2));
        }
    }

    #[tokio::test]
    async fn a_value_that_changes_while_it_is_read_is_read_again() {
        let (value, database) = (LogValue::default(), AtomicU64::new(0));
        let read = async || {
            let read = database.fetch_add(1, SeqCst);
            if read < 2 {
                value.clear();
            }
            Ok::<_, ()>(read)
        };
        assert_eq!(value.get_or_read(&read).await, Ok(2));
        assert_eq!(value.get(), Some(2));
        assert_eq!(value.get_or_read(&read).await, Ok(2));
        assert_eq!(database.load(SeqCst), 3);
    }
}
