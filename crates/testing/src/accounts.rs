//! The accounts of one node, put together as the server does it.

use std::sync::Arc;

use ruma::OwnedServerName;
use stoa_accounts::{
    Accounts, DeploymentSecret, FilterCache, Options, Parts, PasswordCost, SessionCache,
};
use stoa_base::{Clock, ManualClock, Random};
use stoa_cluster::CacheKeeper;

use crate::{TestDatabase, TestNode, TestNodeOptions};

/// A node with accounts on top.
#[derive(Clone, Debug)]
pub struct TestAccounts {
    /// The node.
    pub node: TestNode,
    /// Its accounts.
    pub accounts: Arc<Accounts>,
    /// Its clock.
    pub clock: ManualClock,
}

impl TestAccounts {
    /// A node of the server `test` with open registration.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, Self::options()).await
    }

    /// Options with open registration and fast password hashing, and without limits.
    pub fn options() -> Options {
        Options {
            registration_enabled: true,
            limits: None,
            password_cost: PasswordCost { memory_kib: 8, passes: 1, lanes: 1 },
            ..Options::default()
        }
    }

    /// A node whose accounts have these options.
    pub async fn start_with(database: &TestDatabase, options: Options) -> Self {
        let clock = ManualClock::at(1_700_000_000_000);
        Self::start_at(database, options, clock, TestNodeOptions::default()).await
    }

    /// Another node on the same database, with the same clock.
    pub async fn another(&self, database: &TestDatabase, options: Options) -> Self {
        let node = TestNodeOptions::default();
        Self::start_at(database, options, self.clock.clone(), node).await
    }

    /// A node with this clock and these limits. The accounts' own caches are added to the given
    /// ones.
    pub async fn start_at(
        database: &TestDatabase,
        options: Options,
        clock: ManualClock,
        mut node: TestNodeOptions,
    ) -> Self {
        let sessions = SessionCache::new(1 << 20);
        let filters = FilterCache::new(1 << 20);
        node.caches.push(Arc::clone(&sessions) as Arc<dyn CacheKeeper>);
        node.caches.push(Arc::clone(&filters) as _);
        node.clock = Some(Clock::from(clock.clone()));
        let node = TestNode::start_with(database, node).await;
        let secret = DeploymentSecret::load_or_create(&node.store, &Random::system()).await;
        let parts = Parts {
            store: node.store.clone(),
            writer: node.writer.clone(),
            freshness: node.freshness.clone(),
            clock: node.clock.clone(),
            random: Random::system(),
            server_name: OwnedServerName::try_from("test").expect("a server name"),
            sessions,
            filters,
            secret: secret.expect("a secret"),
        };
        let accounts = Accounts::new(parts, options).expect("accounts");
        Self { node, accounts: Arc::new(accounts), clock }
    }
}
