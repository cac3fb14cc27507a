//! When devices were last seen: kept in memory and written periodically.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use ruma::{OwnedDeviceId, OwnedUserId};
use stoa_storage::repo::devices::{self, LastSeenRow};

use super::{Sessions, session::Session};
use crate::before::before;

/// The precision of the times.
const INTERVAL: Duration = Duration::from_mins(3);
/// Roughly how many bytes of devices may wait to be written. Beyond that, a device is noted at one
/// of its next requests.
const LIMIT: usize = 16 << 20;
/// How many devices are written at once.
const PAGE: usize = 500;

/// Devices whose last-seen time is not written yet.
#[derive(Debug, Default)]
pub(crate) struct LastSeen(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    devices: HashMap<(OwnedUserId, OwnedDeviceId), Seen>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    ms: i64,
    address: Option<IpAddr>,
}

impl Sessions {
    /// Notes that a session's device has made a request. This is cheap: most calls find a recent
    /// note and return.
    pub fn note_seen(&self, session: &Session, address: Option<IpAddr>) {
        let now_ms = self.clock.now_ms();
        let noted_ms = session.seen_ms.load(Ordering::Relaxed);
        if noted_ms > before(now_ms, INTERVAL) {
            return;
        }
        let mut waiting = self.last_seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes < LIMIT {
            session.seen_ms.store(now_ms, Ordering::Relaxed);
            let device = (session.user_id.clone(), session.device_id.clone());
            let bytes = 256 + device.0.as_str().len() + device.1.as_str().len();
            if waiting.devices.insert(device, Seen { ms: now_ms, address }).is_none() {
                waiting.bytes += bytes;
            }
        }
    }

    /// Writes the noted times. To be called every few minutes and before the server stops.
    pub async fn flush_last_seen(&self) -> stoa_storage::Result<()> {
        let waiting = {
            let mut waiting = self.last_seen.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        let rows: Vec<LastSeenRow> = waiting
            .devices
            .into_iter()
            .map(|((user_id, device_id), seen)| LastSeenRow {
                user_id,
                device_id,
                ms: seen.ms,
                address: seen.address.map(|address| address.to_string()),
            })
            .collect();
        for page in rows.chunks(PAGE) {
            devices::set_last_seen(&self.store, page).await?;
        }
        Ok(())
    }
}
