//! Builds the parts that deal with accounts.

use std::sync::Arc;

use ruma::OwnedServerName;
use stoa_base::{Clock, Random};
use stoa_cluster::Freshness;
use stoa_storage::{Store, log::Writer};

use crate::{
    account_data::AccountData,
    attempts::Attempts,
    devices::Devices,
    filters::{FilterCache, Filters},
    interactive_auth::InteractiveAuth,
    options::Options,
    passwords::{BadPasswordCost, FailedLogins, Hasher, Passwords},
    profiles::Profiles,
    registration::{Registrar, SharedSecret},
    secrets::DeploymentSecret,
    sessions::{LastSeen, SessionCache, Sessions},
    users::Users,
};

/// What [`Accounts`] is built from.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Appends to the log.
    pub writer: Writer,
    /// Waits until the caches of this node are current.
    pub freshness: Freshness,
    /// The clock.
    pub clock: Clock,
    /// The source of randomness for secrets.
    pub random: Random,
    /// The server name in the IDs of local users.
    pub server_name: OwnedServerName,
    /// The cache of sessions, kept current by the tailer.
    pub sessions: Arc<SessionCache>,
    /// The cache of filters, kept current by the tailer.
    pub filters: Arc<FilterCache>,
    /// The secret with which every node verifies what another node has signed.
    pub secret: DeploymentSecret,
}

/// The parts that deal with accounts. Callers take the ones they need.
#[derive(Debug)]
pub struct Accounts {
    /// Sessions and their tokens.
    pub sessions: Arc<Sessions>,
    /// Devices.
    pub devices: Arc<Devices>,
    /// Passwords, and logging in with them.
    pub passwords: Arc<Passwords>,
    /// User-interactive authentication.
    pub interactive_auth: Arc<InteractiveAuth>,
    /// Registration.
    pub registrar: Arc<Registrar>,
    /// The accounts themselves, and their deactivation.
    pub users: Arc<Users>,
    /// Profiles.
    pub profiles: Arc<Profiles>,
    /// Account data.
    pub account_data: Arc<AccountData>,
    /// Filters.
    pub filters: Arc<Filters>,
    store: Store,
}

impl Accounts {
    /// Builds the parts on an open database. Fails if argon2 cannot use `options.password_cost`.
    pub fn new(parts: Parts, options: Options) -> Result<Self, BadPasswordCost> {
        let Parts { store, writer, freshness, clock, random, server_name, .. } = parts;
        let attempts =
            Attempts { store: store.clone(), clock: clock.clone(), limits: options.limits };
        let sessions = Arc::new(Sessions {
            store: store.clone(),
            writer: writer.clone(),
            freshness,
            clock: clock.clone(),
            random: random.clone(),
            cache: parts.sessions,
            last_seen: LastSeen::default(),
            access_token_lifetime: options.access_token_lifetime,
            max_devices: options.totals.devices,
        });
        let passwords = Arc::new(Passwords {
            store: store.clone(),
            writer: writer.clone(),
            clock: clock.clone(),
            server_name: server_name.clone(),
            hasher: Hasher::new(options.password_cost, options.password_workers, random.clone())?,
            attempts: attempts.clone(),
            failed_logins: FailedLogins::default(),
            sessions: Arc::clone(&sessions),
        });
        let interactive_auth = Arc::new(InteractiveAuth {
            store: store.clone(),
            clock: clock.clone(),
            random: random.clone(),
            secret: parts.secret,
            lifetime: options.interactive_auth_lifetime,
            passwords: Arc::clone(&passwords),
        });
        let registrar = Arc::new(Registrar {
            store: store.clone(),
            writer: writer.clone(),
            clock: clock.clone(),
            random,
            server_name,
            is_open: options.registration_enabled,
            shared_secret: options.registration_shared_secret.map(SharedSecret),
            attempts,
            passwords: Arc::clone(&passwords),
            interactive_auth: Arc::clone(&interactive_auth),
            sessions: Arc::clone(&sessions),
        });
        Ok(Self {
            users: Arc::new(Users {
                store: store.clone(),
                writer: writer.clone(),
                clock: clock.clone(),
                sessions: Arc::clone(&sessions),
            }),
            profiles: Arc::new(Profiles { store: store.clone() }),
            account_data: Arc::new(AccountData {
                store: store.clone(),
                writer,
                totals: options.totals,
            }),
            filters: Arc::new(Filters {
                store: store.clone(),
                clock,
                cache: parts.filters,
                most: options.totals.filters,
            }),
            devices: Arc::new(Devices { store: store.clone() }),
            sessions,
            passwords,
            interactive_auth,
            registrar,
            store,
        })
    }

    /// Deletes what has expired. To be called now and then.
    pub async fn prune_expired(&self) -> stoa_storage::Result<()> {
        let mut conn = self.store.write().await?;
        self.interactive_auth.prune(&mut conn).await?;
        self.registrar.prune_nonces(&mut conn).await?;
        self.passwords.attempts.prune(&mut conn).await?;
        conn.commit().await
    }
}
