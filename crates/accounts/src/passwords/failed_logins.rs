//! Failed logins, for the audit log.
//!
//! They are counted in memory and written once a minute, in one entry per user and network, so that
//! a flood of them does not flood the audit log. If the process dies, unwritten counts are lost.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use ruma::UserId;
use stoa_base::Network;
use stoa_storage::log::{Append, AuditAction, AuditRow};

use super::Passwords;
use crate::failure::Failure;

/// How many pairs of a user and a network get their own entry in a minute. The rest share one.
const LIMIT: usize = 1_000;
/// How much of a made-up user name is kept, in bytes.
const MAX_NAME: usize = 255;

/// Failed logins that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct FailedLogins(Mutex<HashMap<Subject, Count>>);

/// The user who was tried and the network it came from. The default stands for the shared entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Subject {
    user: String,
    network: Option<Network>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    wrong: u64,
    refused: u64,
}

impl FailedLogins {
    fn add(&self, subject: Subject, count: Count) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = waiting.contains_key(&subject);
        let subject = if is_known || waiting.len() < LIMIT { subject } else { Subject::default() };
        let sum = waiting.entry(subject).or_default();
        sum.wrong += count.wrong;
        sum.refused += count.refused;
    }

    fn take(&self) -> HashMap<Subject, Count> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Passwords {
    /// Counts a login that failed because of a wrong password or too many attempts.
    pub(super) fn note_failed_login(
        &self,
        user: Option<&UserId>,
        address: Option<IpAddr>,
        was_refused: bool,
    ) {
        let name = user.map_or("", UserId::as_str);
        let name = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or_default();
        let subject = Subject { user: name.to_owned(), network: address.map(Network::of) };
        let count = Count { wrong: (!was_refused).into(), refused: was_refused.into() };
        self.failed_logins.add(subject, count);
    }

    /// Writes the failed logins to the audit log. To be called once a minute and before the server
    /// stops.
    pub async fn flush_failed_logins(&self) -> Result<(), Failure> {
        let waiting = self.failed_logins.take();
        if waiting.is_empty() {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let mut append = Append::new();
        for (Subject { user, network }, count) in &waiting {
            let row = AuditRow::unattributed(
                now_ms,
                AuditAction::LoginFailed,
                network.map(|network| network.to_string()),
                user.as_str(),
            );
            append.audit.push(
                row.refused()
                    .with("wrong_passwords", count.wrong)
                    .with("refused_by_limit", count.refused),
            );
        }
        let written = self.writer.append(append).await;
        if written.is_err() {
            for (subject, count) in waiting {
                self.failed_logins.add(subject, count);
            }
        }
        Ok(written.map(drop)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_under_many_names_is_bounded() {
        let failed = FailedLogins::default();
        let one = Count { wrong: 1, refused: 0 };
        for number in 0..5_000 {
            let subject = Subject { user: format!("@{number}:test"), network: None };
            failed.add(subject, one);
        }
        let known = Subject { user: "@7:test".to_owned(), network: None };
        failed.add(known.clone(), one);
        let waiting = failed.take();
        assert_eq!(waiting.len(), LIMIT + 1);
        assert_eq!(waiting[&known].wrong, 2);
        assert_eq!(waiting[&Subject::default()].wrong, 4_000);
        assert!(failed.take().is_empty());
    }
}
