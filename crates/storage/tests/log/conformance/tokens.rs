use ruma::UserId;
use stoa_storage::{
    Conn,
    repo::{
        devices,
        tokens::{self, NewTokenRow, TokenRow},
        users::{self, UserRow},
    },
};
use stoa_testing::both_databases;

use super::{UNUSUAL, alice, bob, refused};

/// Accounts and devices, without which no token is good. Bob is an admin.
async fn fill(conn: &mut Conn) {
    for (user_id, admin) in [(alice(), false), (bob(), true)] {
        let user = UserRow {
            user_id: user_id.to_owned(),
            password_hash: None,
            admin,
            created_ms: 1,
            deactivated: false,
        };
        users::insert(conn, &user).await.unwrap();
        for device_id in ["A", "B"] {
            devices::insert(conn, user_id, device_id.into(), None, 1).await.unwrap();
        }
    }
}

fn token<'a>(token_hash: &'a str, user_id: &'a UserId, device_id: &'a str) -> NewTokenRow<'a> {
    NewTokenRow {
        token_hash,
        user_id,
        device_id: device_id.into(),
        created_ms: 1,
        expires_ms: None,
        refresh_hash: None,
        parent_hash: None,
    }
}

type Columns = (String, String, String, Option<i64>, Option<String>, bool);

fn columns(row: TokenRow) -> Columns {
    let TokenRow { token_hash, user_id, device_id, expires_ms, parent_hash, admin } = row;
    (token_hash, user_id.to_string(), device_id.to_string(), expires_ms, parent_hash, admin)
}

/// Whether a token is good.
async fn is_good(conn: &mut Conn, token_hash: &str) -> bool {
    tokens::by_access_hash(conn, token_hash).await.unwrap().is_some()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(tokens::by_access_hash(&mut conn, "a").await.unwrap().is_none());
        assert!(tokens::by_refresh_hash(&mut conn, "a").await.unwrap().is_none());
        assert!(tokens::of_device(&mut conn, alice(), "A".into()).await.unwrap().is_empty());
        tokens::delete_unused_successors(&mut conn, "a").await.unwrap();
        assert!(!tokens::begin_refresh(&mut conn, "a", 1).await.unwrap());
    }

    async fn a_token_is_found_by_either_hash(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        fill(&mut conn).await;
        let first = NewTokenRow {
            expires_ms: Some(i64::MAX), refresh_hash: Some("refresh"), ..token("access", alice(), "A")
        };
        let second = NewTokenRow { parent_hash: Some("access"), ..token("next", bob(), "B") };
        for new in [&first, &second] {
            tokens::insert(&mut conn, new).await.unwrap();
        }
        let expected = ("access".to_owned(), "@alice:test".to_owned(), "A".to_owned(),
            Some(i64::MAX), None, false);
        let found = tokens::by_access_hash(&mut conn, "access").await.unwrap().unwrap();
        assert_eq!(columns(found), expected);
        let found = tokens::by_refresh_hash(&mut conn, "refresh").await.unwrap().unwrap();
        assert_eq!(columns(found), expected);
        let found = tokens::by_access_hash(&mut conn, "next").await.unwrap().unwrap();
        assert_eq!(columns(found), ("next".to_owned(), "@bob:test".to_owned(), "B".to_owned(), None,
            Some("access".to_owned()), true));
        // One hash does not do for the other, and case counts.
        assert!(tokens::by_access_hash(&mut conn, "refresh").await.unwrap().is_none());
        assert!(tokens::by_refresh_hash(&mut conn, "access").await.unwrap().is_none());
        assert!(tokens::by_access_hash(&mut conn, "ACCESS").await.unwrap().is_none());
    }

    async fn a_hash_is_there_once(db: TestDatabase) {
        let store = db.store().await;
        for (hash, refresh_hash) in [("a", "other"), ("b", "r")] {
            let mut conn = store.write().await.unwrap();
            let first = NewTokenRow { refresh_hash: Some("r"), ..token("a", alice(), "A") };
            tokens::insert(&mut conn, &first).await.unwrap();
            let same = NewTokenRow { refresh_hash: Some(refresh_hash), ..token(hash, bob(), "B") };
            let error = tokens::insert(&mut conn, &same).await.unwrap_err();
            assert!(error.is_unique_violation(), "{error}");
        }
    }

    async fn a_token_is_good_with_its_account_its_device_and_its_parent(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        fill(&mut conn).await;
        for new in [
            token("good", alice(), "A"),
            token("no device", alice(), "gone"),
            token("no account", ruma::user_id!("@carol:test"), "A"),
            token("closed account", bob(), "A"),
            NewTokenRow { parent_hash: Some("good"), ..token("with its parent", alice(), "A") },
            NewTokenRow { parent_hash: Some("gone"), ..token("no parent", alice(), "A") },
        ] {
            tokens::insert(&mut conn, &NewTokenRow { refresh_hash: Some(new.token_hash), ..new })
                .await
                .unwrap();
        }
        users::deactivate(&mut conn, bob()).await.unwrap();
        for (token_hash, good) in [
            ("good", true), ("no device", false), ("no account", false), ("closed account", false),
            ("with its parent", true), ("no parent", false),
        ] {
            assert_eq!(is_good(&mut conn, token_hash).await, good, "{token_hash}");
            let found = tokens::by_refresh_hash(&mut conn, token_hash).await.unwrap();
            assert_eq!(found.is_some(), good, "{token_hash}");
        }
    }

    async fn the_tokens_of_one_device(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (hash, user_id, device_id) in [
            ("1", alice(), "A"), ("2", alice(), "A"), ("3", alice(), "B"), ("4", bob(), "A"),
            ("5", alice(), "a"),
        ] {
            tokens::insert(&mut conn, &token(hash, user_id, device_id)).await.unwrap();
        }
        let mut found = tokens::of_device(&mut conn, alice(), "A".into()).await.unwrap();
        found.sort();
        assert_eq!(found, ["1", "2"]);
    }

    async fn what_was_refreshed_and_never_used_makes_way(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        fill(&mut conn).await;
        for (hash, parent_hash) in
            [("old", None), ("one", Some("old")), ("two", Some("old")), ("other", Some("one"))]
        {
            let new = NewTokenRow { parent_hash, ..token(hash, alice(), "A") };
            tokens::insert(&mut conn, &new).await.unwrap();
        }
        tokens::delete_unused_successors(&mut conn, "old").await.unwrap();
        let mut found = tokens::of_device(&mut conn, alice(), "A".into()).await.unwrap();
        found.sort();
        assert_eq!(found, ["old", "other"]);
        for now_ms in [i64::MIN, i64::MAX] {
            assert!(tokens::begin_refresh(&mut conn, "old", now_ms).await.unwrap());
        }
        assert!(!tokens::begin_refresh(&mut conn, "one", 1).await.unwrap());
    }

    async fn unusual_texts(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        fill(&mut conn).await;
        for text in UNUSUAL {
            devices::insert(&mut conn, alice(), text.into(), None, 1).await.unwrap();
            let new = NewTokenRow { refresh_hash: Some(text), ..token(text, alice(), text) };
            tokens::insert(&mut conn, &new).await.unwrap();
            let found = tokens::by_access_hash(&mut conn, text).await.unwrap().unwrap();
            assert_eq!(found.device_id.as_str(), text);
            assert!(tokens::by_refresh_hash(&mut conn, text).await.unwrap().is_some());
            assert_eq!(tokens::of_device(&mut conn, alice(), text.into()).await.unwrap(), [text]);
        }
        refused(tokens::insert(&mut conn, &token("a\0b", alice(), "A")).await);
        refused(tokens::by_access_hash(&mut conn, "a\0b").await);
        refused(tokens::by_refresh_hash(&mut conn, "a\0b").await);
        refused(tokens::of_device(&mut conn, alice(), "a\0b".into()).await);
        refused(tokens::delete_unused_successors(&mut conn, "a\0b").await);
        refused(tokens::begin_refresh(&mut conn, "a\0b", 1).await);
    }
}
