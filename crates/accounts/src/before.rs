//! Points in the past.

use std::time::Duration;

/// The time `by` before `now_ms`, in milliseconds.
pub(crate) fn before(now_ms: i64, by: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
