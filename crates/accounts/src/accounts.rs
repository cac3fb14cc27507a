//! The one object that everything about accounts goes through.

use std::sync::Arc;

use ruma::OwnedServerName;
use stoa_base::{Clock, Random};
use stoa_cluster::Freshness;
use stoa_storage::{Store, log::Writer};

use crate::{
    BadPasswordCost, DeploymentSecret, Options, SessionCache, failed_logins::FailedLogins,
    filters::FilterCache, last_seen::LastSeen, passwords::Passwords,
    shared_secret::oldest_used_nonce,
};

/// What accounts are built from.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The way into the log.
    pub writer: Writer,
    /// Waits until this node's caches are current.
    pub freshness: Freshness,
    /// The time.
    pub clock: Clock,
    /// Where secrets come from.
    pub random: Random,
    /// The server name that every user here bears.
    pub server_name: OwnedServerName,
    /// The cache that the tailer keeps current.
    pub sessions: Arc<SessionCache>,
    /// What a node authenticates things with that any node may get back.
    pub secret: DeploymentSecret,
}

/// The users of this server and what belongs to them.
#[derive(Debug)]
pub struct Accounts {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) freshness: Freshness,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) server_name: OwnedServerName,
    pub(crate) sessions: Arc<SessionCache>,
    pub(crate) secret: DeploymentSecret,
    pub(crate) options: Options,
    pub(crate) passwords: Passwords,
    pub(crate) last_seen: LastSeen,
    pub(crate) failed_logins: FailedLogins,
    pub(crate) filters: FilterCache,
}

impl Accounts {
    /// Accounts on a database that is open. `options.password_cost` may be unusable.
    pub fn new(parts: Parts, options: Options) -> Result<Self, BadPasswordCost> {
        let Parts { store, writer, freshness, clock, random, server_name, sessions, secret } =
            parts;
        let passwords =
            Passwords::new(options.password_cost, options.password_workers, random.clone())?;
        Ok(Self {
            store,
            writer,
            freshness,
            clock,
            random,
            server_name,
            sessions,
            secret,
            options,
            passwords,
            last_seen: LastSeen::default(),
            failed_logins: FailedLogins::default(),
            filters: FilterCache::default(),
        })
    }

    /// Deletes what has expired and nobody asks for any more. To be called now and then.
    pub async fn prune_expired(&self) -> stoa_storage::Result<()> {
        use stoa_storage::repo;

        let now_ms = self.clock.now_ms();
        let mut conn = self.store.write().await?;
        repo::interactive_auth::prune(&mut conn, self.oldest_interactive_auth(now_ms)).await?;
        repo::registration_nonces::prune(&mut conn, oldest_used_nonce(now_ms)).await?;
        if let Some(limits) = &self.options.limits {
            repo::attempts::prune(&mut conn, before(now_ms, limits.window)).await?;
        }
        conn.commit().await
    }
}

/// The time `by` before `now_ms`, in milliseconds.
pub(crate) fn before(now_ms: i64, by: std::time::Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
