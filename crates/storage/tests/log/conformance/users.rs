use ruma::UserId;
use stoa_storage::{
    Conn,
    repo::users::{self, UserRow},
};
use stoa_testing::both_databases;

use super::{UNUSUAL, alice, bob, long_text, refused};

fn user(user_id: &UserId) -> UserRow {
    UserRow {
        user_id: user_id.to_owned(),
        password_hash: None,
        admin: false,
        created_ms: 1,
        deactivated: false,
    }
}

type Columns = (String, Option<String>, bool, i64, bool);

fn columns(row: UserRow) -> Columns {
    let UserRow { user_id, password_hash, admin, created_ms, deactivated } = row;
    (user_id.to_string(), password_hash, admin, created_ms, deactivated)
}

async fn find(conn: &mut Conn, user_id: &UserId) -> Option<Columns> {
    users::find(conn, user_id).await.unwrap().map(columns)
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(find(&mut conn, alice()).await, None);
        assert!(!users::lock(&mut conn, alice()).await.unwrap());
        assert!(!users::lock_for_login(&mut conn, alice(), None).await.unwrap());
        assert!(!users::set_password(&mut conn, alice(), "hash").await.unwrap());
        assert!(!users::set_admin(&mut conn, alice(), true).await.unwrap());
        assert!(!users::deactivate(&mut conn, alice()).await.unwrap());
    }

    async fn a_name_is_taken_once(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let full = UserRow {
            password_hash: Some("hash".to_owned()),
            admin: true,
            created_ms: i64::MAX,
            deactivated: true,
            ..user(alice())
        };
        assert!(users::insert(&mut conn, &full).await.unwrap());
        assert!(!users::insert(&mut conn, &user(alice())).await.unwrap());
        assert!(users::insert(&mut conn, &UserRow { created_ms: i64::MIN, ..user(bob()) }).await.unwrap());
        assert_eq!(find(&mut conn, alice()).await, Some(columns(full)));
        let of_bob = ("@bob:test".to_owned(), None, false, i64::MIN, false);
        assert_eq!(find(&mut conn, bob()).await, Some(of_bob));
        assert_eq!(find(&mut conn, ruma::user_id!("@Bob:test")).await, None);
    }

    async fn an_account_is_changed_and_no_other(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for user_id in [alice(), bob()] {
            users::insert(&mut conn, &user(user_id)).await.unwrap();
        }
        assert!(users::set_password(&mut conn, alice(), "hash").await.unwrap());
        for admin in [true, true, false, true] {
            assert!(users::set_admin(&mut conn, alice(), admin).await.unwrap());
            assert_eq!(find(&mut conn, alice()).await.unwrap().2, admin);
        }
        assert!(users::deactivate(&mut conn, alice()).await.unwrap());
        assert!(users::deactivate(&mut conn, alice()).await.unwrap(), "twice");
        let changed = ("@alice:test".to_owned(), Some("hash".to_owned()), true, 1, true);
        assert_eq!(find(&mut conn, alice()).await, Some(changed));
        assert_eq!(find(&mut conn, bob()).await, Some(columns(user(bob()))));
    }

    async fn an_account_is_locked_for_a_login_with_its_password(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let with_password = UserRow { password_hash: Some("hash".to_owned()), ..user(alice()) };
        users::insert(&mut conn, &with_password).await.unwrap();
        users::insert(&mut conn, &user(bob())).await.unwrap();
        for (user_id, hash, locked) in [
            (alice(), Some("hash"), true), (alice(), Some("Hash"), false), (alice(), None, false),
            (bob(), None, true), (bob(), Some("hash"), false), (bob(), Some(""), false),
        ] {
            let found = users::lock_for_login(&mut conn, user_id, hash).await.unwrap();
            assert_eq!(found, locked, "{user_id} {hash:?}");
        }
        users::deactivate(&mut conn, alice()).await.unwrap();
        assert!(!users::lock_for_login(&mut conn, alice(), Some("hash")).await.unwrap());
        assert!(users::lock(&mut conn, alice()).await.unwrap(), "also where it is closed");
    }

    async fn unusual_texts(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        users::insert(&mut conn, &user(alice())).await.unwrap();
        let long = long_text();
        for text in UNUSUAL.into_iter().chain([long.as_str()]) {
            assert!(users::set_password(&mut conn, alice(), text).await.unwrap());
            assert_eq!(find(&mut conn, alice()).await.unwrap().1.as_deref(), Some(text));
            assert!(users::lock_for_login(&mut conn, alice(), Some(text)).await.unwrap());
        }
        refused(users::set_password(&mut conn, alice(), "a\0b").await);
        refused(users::lock_for_login(&mut conn, alice(), Some("a\0b")).await);
    }
}
