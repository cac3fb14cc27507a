//! Support for the tests of every crate: databases that belong to one test, and the parts of a node
//! put together.
//!
//! Test support panics when a test cannot go on. This is the only code outside tests that may
//! panic.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::manual_assert,
    clippy::panic,
    reason = "a test that cannot go on must end"
)]

mod accounts;
#[cfg(feature = "server")]
mod client_rooms;
mod database;
mod network;
mod node;
mod postgres_proxy;
mod postgres_server;
mod rooms;
pub mod sample;
pub mod second_process;
#[cfg(feature = "server")]
mod server;
pub mod surgery;
mod this_program;
mod written_rows;

pub use self::{
    accounts::TestAccounts,
    database::{TestDatabase, run_on},
    network::{Cut, TestNetwork, in_own_network},
    node::{TestNode, TestNodeOptions},
    postgres_proxy::{Call, OrphanedCall, PostgresProxy, Reply, UnendedCall},
    postgres_server::TestPostgres,
    rooms::{TestRooms, public_room, state_events},
    second_process::SecondProcess,
    written_rows::WrittenRows,
};

#[cfg(feature = "server")]
pub use self::client_rooms::{encode, in_room};
#[cfg(feature = "server")]
pub use self::server::{PASSWORD, TestClient, TestRequest, TestResponse, TestServer};
#[cfg(feature = "server")]
pub use stoa::app::Environment;

/// For the tests of `storage`, which is below this crate.
pub use stoa_cluster;
/// The database that a test runs on.
pub use stoa_storage::Backend;

/// Turns each function into two tests, one on SQLite and one on PostgreSQL, each on a new database
/// that is deleted when the test ends.
///
/// ```text
/// both_databases! {
///     async fn a_token_is_found_by_its_hash(db: TestDatabase) {
///         let store = db.store().await;
///         …
///     }
/// }
/// ```
///
/// The tests are named `a_token_is_found_by_its_hash::sqlite` and `…::postgres`. The PostgreSQL
/// server is the one at `STOA_TEST_POSTGRES`, the URL of a superuser. Without it these tests pass
/// without doing anything and say so, unless `STOA_TEST_REQUIRE_POSTGRES=1`.
#[macro_export]
macro_rules! both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: TestDatabase) $body:block)*) => {$(
        mod $name {
            #[allow(clippy::allow_attributes, unused_imports, reason = "for what the body names")]
            use super::*;

            async fn run($db: &$crate::TestDatabase) $body

            $(#[$meta])*
            #[test]
            fn sqlite() {
                $crate::run_on($crate::Backend::Sqlite, async |db| run(db).await);
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                $crate::run_on($crate::Backend::Postgres, async |db| run(db).await);
            }
        }
    )*};
}
