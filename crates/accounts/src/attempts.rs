//! Limits on what an attacker would try again and again, counted in the database across all nodes.
//!
//! An attempt is counted before it is made, and the count is taken back if it succeeds. So many
//! concurrent attempts do not get around the limit.

use std::{net::IpAddr, time::Duration};

use ruma::UserId;
use stoa_base::{Clock, Network};
use stoa_storage::{Conn, Store, repo::attempts};

use crate::{before::before, failure::Failure, options::AttemptLimits};

/// Whether an attempt may be made.
pub(crate) enum Attempt {
    /// It has been counted and may be made.
    Counted(Counted),
    /// There have been too many.
    TooMany { retry_after: Duration },
}

/// An attempt that has been counted.
pub(crate) struct Counted {
    user: Option<String>,
    address: Option<String>,
}

/// Counts attempts, and refuses them if there have been too many.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) limits: Option<AttemptLimits>,
}

impl Attempts {
    /// To be called when an attempt has succeeded: forgets the user's failures, and takes this
    /// attempt off the count of the address.
    pub(crate) async fn succeeded(&self, counted: &Counted) -> Result<(), stoa_storage::Error> {
        let Counted { user, address } = counted;
        if user.is_none() && address.is_none() {
            return Ok(());
        }
        let mut conn = self.store.write().await?;
        if let Some(address) = address {
            attempts::uncount(&mut conn, &[address]).await?;
        }
        if let Some(user) = user {
            attempts::forget(&mut conn, user).await?;
        }
        conn.commit().await
    }

    /// Counts a login attempt, against the user and the address.
    pub(crate) async fn login(
        &self,
        user_id: Option<&UserId>,
        address: Option<IpAddr>,
    ) -> Result<Attempt, Failure> {
        let Some(limits) = self.limits else { return Ok(unlimited()) };
        let user = user_id.map(|user_id| format!("login {user_id}"));
        let address = address.map(|address| format!("login {}", Network::of(address)));
        let subjects = [
            (address.as_deref(), limits.failed_logins_per_address),
            (user.as_deref(), limits.failed_logins_per_user),
        ];
        Ok(match self.count(&subjects, limits.window).await? {
            Some(retry_after) => Attempt::TooMany { retry_after },
            None => Attempt::Counted(Counted { user, address }),
        })
    }

    /// Counts a registration attempt, against the address.
    pub(crate) async fn registration(&self, address: Option<IpAddr>) -> Result<Attempt, Failure> {
        let Some(limits) = self.limits else { return Ok(unlimited()) };
        let address = address.map(|address| format!("register {}", Network::of(address)));
        let subjects = [(address.as_deref(), limits.registrations_per_address)];
        Ok(match self.count(&subjects, limits.window).await? {
            Some(retry_after) => Attempt::TooMany { retry_after },
            None => Attempt::Counted(Counted { user: None, address }),
        })
    }

    /// Counts an attempt against each subject in turn. If one is over its limit, returns how long
    /// that lasts and does not count against the remaining subjects, since no attempt will be made.
    async fn count(
        &self,
        subjects: &[(Option<&str>, u32)],
        window: Duration,
    ) -> Result<Option<Duration>, Failure> {
        let now_ms = self.clock.now_ms();
        let oldest_ms = before(now_ms, window);
        let mut conn = self.store.write().await?;
        let mut retry_after = None;
        for (subject, limit) in subjects {
            let Some(subject) = subject else { continue };
            let row = attempts::count(&mut conn, subject, now_ms, oldest_ms).await?;
            if row.attempts > i64::from(*limit) {
                let left_ms = row.window_start_ms.saturating_sub(oldest_ms).saturating_add(1);
                let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
                retry_after = Some(left);
                metrics::counter!("stoa_attempts_refused_total").increment(1);
                break;
            }
        }
        conn.commit().await?;
        Ok(retry_after)
    }

    /// Deletes counts whose window has passed.
    pub(crate) async fn prune(&self, conn: &mut Conn) -> stoa_storage::Result<()> {
        let Some(limits) = self.limits else { return Ok(()) };
        attempts::prune(conn, before(self.clock.now_ms(), limits.window)).await.map(drop)
    }
}

fn unlimited() -> Attempt {
    Attempt::Counted(Counted { user: None, address: None })
}
