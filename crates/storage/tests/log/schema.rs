//! The databases that this version may find: new ones, and those of newer versions, other builds
//! and other servers.

use stoa_storage::{Backend, OpenError, Store};
use stoa_testing::{TestDatabase, both_databases, run_on};

async fn set(store: &Store, sql: &'static str) {
    let mut conn = store.write().await.unwrap();
    assert_eq!(conn.execute(sql, &[]).await.unwrap(), 1);
    conn.commit().await.unwrap();
}

/// A database that a newer version has migrated; the statement sets which versions may run on it.
async fn newer(db: &TestDatabase, set_oldest_version: &'static str) -> Store {
    let store = db.open().await;
    assert_eq!(store.prepare("test").await.unwrap(), migrations());
    set(&store, set_oldest_version).await;
    let mut conn = store.write().await.unwrap();
    let migrated = conn.either(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'what is to come', TRUE, x'00', 0)",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'what is to come', TRUE, '\\x00', 0)",
    );
    conn.execute(migrated, &[]).await.unwrap();
    conn.commit().await.unwrap();
    store
}

/// The number of migrations that this version has.
fn migrations() -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/sqlite");
    std::fs::read_dir(folder).unwrap().count()
}

both_databases! {
    async fn a_new_database_is_migrated_once(db: TestDatabase) {
        let store = db.open().await;
        assert_eq!(store.prepare("test").await.unwrap(), migrations());
        assert_eq!(store.prepare("test").await.unwrap(), 0);
        assert_eq!(db.open().await.prepare("test").await.unwrap(), 0);
    }

    async fn a_newer_database_is_opened_if_it_permits_this_version(db: TestDatabase) {
        let sql = "UPDATE deployment SET value = '0.0.9' WHERE name = 'oldest_version'";
        let store = newer(db, sql).await;
        assert_eq!(store.prepare("test").await.unwrap(), 0);
    }

    async fn a_database_that_is_too_new_is_refused(db: TestDatabase) {
        let sql = "UPDATE deployment SET value = '999.10.0' WHERE name = 'oldest_version'";
        let store = newer(db, sql).await;
        let error = store.prepare("test").await.unwrap_err();
        assert!(matches!(&error, OpenError::TooNew { oldest, .. } if oldest == "999.10.0"));
        let said = error.to_string();
        assert!(said.contains("999.10.0") && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    }

    async fn a_database_of_another_build_is_refused(db: TestDatabase) {
        let store = db.store().await;
        let other = match db.backend() {
            Backend::Sqlite => "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1",
            Backend::Postgres => "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1",
        };
        set(&store, other).await;
        let error = store.prepare("test").await.unwrap_err();
        assert!(matches!(error, OpenError::OtherBuild(1)), "{error}");
    }

    async fn a_database_of_another_server_is_not_migrated(db: TestDatabase) {
        let store = db.open().await;
        store.prepare("one.test").await.unwrap();
        // As if a migration were missing: an attempt to migrate would fail with another error.
        set(&store, "UPDATE _sqlx_migrations SET version = 9998 WHERE version = 1").await;
        let error = store.prepare("other.test").await.unwrap_err();
        assert!(matches!(error, OpenError::ServerName { .. }), "{error}");
    }
}

#[test]
fn nodes_that_start_together_migrate_once() {
    run_on(Backend::Postgres, async |db| {
        let starting: Vec<_> = (0..6)
            .map(|_| {
                let options = db.options();
                tokio::spawn(async move {
                    let store = Store::open(&options).await.unwrap();
                    store.prepare("test").await.unwrap()
                })
            })
            .collect();
        let mut applied = 0;
        for starting in starting {
            applied += starting.await.unwrap();
        }
        assert_eq!(applied, migrations());
    });
}

#[test]
fn a_migration_waits_for_running_statements_and_blocks_nobody() {
    run_on(Backend::Postgres, async |db| {
        let store = db.open().await;
        // The migration has to wait: it creates a table, and another transaction is about to create
        // one of the same name.
        let mut other = store.write().await.unwrap();
        other.execute("CREATE TABLE deployment (name TEXT PRIMARY KEY)", &[]).await.unwrap();
        let migrating = tokio::spawn({
            let store = store.clone();
            async move { store.prepare("test").await }
        });
        for _ in 0..30 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            other.execute("SELECT 1", &[]).await.unwrap();
        }
        drop(other);
        assert_eq!(migrating.await.unwrap().unwrap(), migrations());
    });
}
