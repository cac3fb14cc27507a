use ruma::UserId;
use stoa_storage::{
    Conn,
    log::{AccountUpdateRow, NewUserRow},
    repo::users::{self, UserRow},
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, bob, long_text, make_user};
use crate::{with, write};

type Columns = (String, Option<String>, bool, i64, bool);

async fn find(conn: &mut Conn, user_id: &UserId) -> Option<Columns> {
    let UserRow { user_id, password_hash, admin, created_ms, deactivated } =
        users::find(conn, user_id).await.unwrap()?;
    Some((user_id.to_string(), password_hash, admin, created_ms, deactivated))
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(find(&mut conn, alice()).await, None);
        assert!(!users::lock(&mut conn, alice()).await.unwrap());
    }

    async fn every_column_is_read(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (user_id, password_hash, admin, created_ms) in
            [(alice(), Some("hash"), 1, i64::MAX), (bob(), None, 0, i64::MIN)]
        {
            write(&node, with(|append| append.users.push(NewUserRow {
                user_id: user_id.to_string(),
                password_hash: password_hash.map(str::to_owned),
                admin,
                created_ms,
            }))).await;
        }
        let deactivated = AccountUpdateRow {
            user_id: alice().to_string(), deactivated: Some(1), ..AccountUpdateRow::default()
        };
        write(&node, with(|append| append.account_updates.push(deactivated))).await;
        let mut conn = node.store.write().await.unwrap();
        let of_alice = ("@alice:test".to_owned(), Some("hash".to_owned()), true, i64::MAX, true);
        assert_eq!(find(&mut conn, alice()).await, Some(of_alice));
        let of_bob = ("@bob:test".to_owned(), None, false, i64::MIN, false);
        assert_eq!(find(&mut conn, bob()).await, Some(of_bob));
        assert_eq!(find(&mut conn, ruma::user_id!("@Bob:test")).await, None);
        assert!(!users::lock(&mut conn, alice()).await.unwrap(), "it is closed");
        assert!(users::lock(&mut conn, bob()).await.unwrap());
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        make_user(&node, alice(), None, false).await;
        let long = long_text();
        for text in UNUSUAL.into_iter().chain([long.as_str()]) {
            let update = AccountUpdateRow {
                user_id: alice().to_string(),
                password_hash: Some(text.to_owned()),
                ..AccountUpdateRow::default()
            };
            write(&node, with(|append| append.account_updates.push(update))).await;
            let mut conn = node.store.read().await.unwrap();
            assert_eq!(find(&mut conn, alice()).await.unwrap().1.as_deref(), Some(text));
        }
    }
}
