//! Limits on what an attacker would try often, counted in the database for all nodes together.
//!
//! An attempt is counted before it is made and taken back if it succeeds, so that trying many times
//! at once brings nothing.

use std::{net::IpAddr, time::Duration};

use ruma::UserId;
use stoa_base::{Clock, Network};
use stoa_storage::{Conn, Store, repo::attempts};

use crate::{before::before, failure::Failure, options::AttemptLimits};

/// An attempt, or why it is refused.
pub(crate) enum Attempt {
    /// It may be made.
    Counted(Counted),
    /// There were too many.
    TooMany { retry_after: Duration },
}

/// An attempt that was counted.
pub(crate) struct Counted {
    user: Option<String>,
    address: Option<String>,
}

/// Counts attempts, and refuses them where there were too many.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) limits: Option<AttemptLimits>,
}

impl Attempts {
    /// The attempt succeeded: the user's failures are forgotten, the address is given this one back.
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

    /// Counts an attempt to log in.
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

    /// Counts a registration.
    pub(crate) async fn registration(&self, address: Option<IpAddr>) -> Result<Attempt, Failure> {
        let Some(limits) = self.limits else { return Ok(unlimited()) };
        let address = address.map(|address| format!("register {}", Network::of(address)));
        let subjects = [(address.as_deref(), limits.registrations_per_address)];
        Ok(match self.count(&subjects, limits.window).await? {
            Some(retry_after) => Attempt::TooMany { retry_after },
            None => Attempt::Counted(Counted { user: None, address }),
        })
    }

    /// Counts an attempt for one subject after the other. Where one is over its limit, says how long
    /// it stays so: nothing is tried, and those after it are not to blame.
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

    /// Deletes the counts whose window is over.
    pub(crate) async fn prune(&self, conn: &mut Conn) -> stoa_storage::Result<()> {
        let Some(limits) = self.limits else { return Ok(()) };
        attempts::prune(conn, before(self.clock.now_ms(), limits.window)).await.map(drop)
    }
}

fn unlimited() -> Attempt {
    Attempt::Counted(Counted { user: None, address: None })
}
