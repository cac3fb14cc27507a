use stoa_storage::repo::deployment::{self, SigningKeyRow};
use stoa_testing::{both_databases, run_on};

use super::{UNUSUAL, refused};

fn key(key_id: &str, pkcs8: &[u8], created_ms: i64) -> SigningKeyRow {
    SigningKeyRow { key_id: key_id.to_owned(), pkcs8: pkcs8.to_owned(), created_ms }
}

both_databases! {
    async fn the_first_key_stays(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let bytes: Vec<u8> = (0..=255).collect();
        for new in [key("it's\"🦀", &bytes, i64::MAX), key("b", &[], i64::MIN)] {
            let found = deployment::signing_key_or_insert(&mut conn, &new).await.unwrap();
            assert_eq!(found.key_id, "it's\"🦀");
            assert_eq!(found.pkcs8, bytes);
            assert_eq!(found.created_ms, i64::MAX);
        }
        refused(deployment::signing_key_or_insert(&mut conn, &key("a\0b", &[], 1)).await);
    }

    async fn a_key_is_found_by_its_identifier(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(deployment::signing_key(&mut conn, "a").await.unwrap().is_none());
        deployment::signing_key_or_insert(&mut conn, &key("a", b"one", 7)).await.unwrap();
        let found = deployment::signing_key(&mut conn, "a").await.unwrap().unwrap();
        assert_eq!((found.pkcs8.as_slice(), found.created_ms), (&b"one"[..], 7));
        assert!(deployment::signing_key(&mut conn, "A").await.unwrap().is_none());
        refused(deployment::signing_key(&mut conn, "a\0b").await);
    }

    async fn the_first_secret_of_a_name_stays(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for name in UNUSUAL {
            for secret in [name, "another"] {
                let found = deployment::secret_or_insert(&mut conn, name, secret).await.unwrap();
                assert_eq!(found, name);
            }
        }
        refused(deployment::secret_or_insert(&mut conn, "a\0b", "").await);
        refused(deployment::secret_or_insert(&mut conn, "a", "a\0b").await);
    }

    async fn a_key_may_be_empty(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let found = deployment::signing_key_or_insert(&mut conn, &key("", &[], i64::MIN)).await;
        let found = found.unwrap();
        assert_eq!((found.key_id.as_str(), found.pkcs8, found.created_ms), ("", vec![], i64::MIN));
    }
}

/// Two nodes that start at the same time on a new database must sign with the same key.
#[test]
fn nodes_that_start_together_get_one_key() {
    run_on(stoa_storage::Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut one = store.write().await.unwrap();
        let first = deployment::signing_key_or_insert(&mut one, &key("a", b"a", 1)).await.unwrap();
        let other = tokio::spawn(async move {
            let mut conn = store.write().await.unwrap();
            let key = deployment::signing_key_or_insert(&mut conn, &key("b", b"b", 2)).await;
            conn.commit().await.unwrap();
            key.unwrap()
        });
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        one.commit().await.unwrap();
        assert_eq!((first.key_id.as_str(), other.await.unwrap().key_id.as_str()), ("a", "a"));
    });
}
