use ruma::UserId;
use stoa_base::{Pos, RoomNid};
use stoa_storage::{
    log::{AccountDataRow, AccountUpdateRow},
    repo::{
        account_data, erasure, filters,
        interactive_auth::{self, InteractiveAuthRow},
        profiles, users,
    },
};
use stoa_testing::{TestNode, both_databases};

use super::{alice, bob, make_user};
use crate::{with, write};

/// An account with everything that can be erased.
async fn fill(node: &TestNode, user_id: &UserId) {
    make_user(node, user_id, Some("hash"), false).await;
    for room in 1..=3 {
        write(
            node,
            with(|append| {
                let pos = append.next_pos();
                append.account_data.push(AccountDataRow {
                    user_id: user_id.to_string(),
                    room_nid: RoomNid(room),
                    kind: "a".to_owned(),
                    content: "{}".to_owned(),
                    pos,
                });
            }),
        )
        .await;
    }
    let mut conn = node.store.write().await.unwrap();
    for text in ["a", "b", "c"] {
        filters::insert(&mut conn, user_id, text, "{}", 1, 9).await.unwrap();
        profiles::set(&mut conn, user_id, text, "1").await.unwrap();
    }
    let session = InteractiveAuthRow {
        operation: "a".to_owned(),
        user_id: Some(user_id.to_owned()),
        body_hash: None,
        completed: "[]".to_owned(),
        result: None,
    };
    let hash = user_id.as_str();
    interactive_auth::complete(&mut conn, hash, &session, 1, hash).await.unwrap();
    conn.commit().await.unwrap();
}

/// The numbers of account data, filters, profile fields, authentication sessions, and passwords.
async fn counts(node: &TestNode, user_id: &UserId) -> [usize; 5] {
    let mut conn = node.store.read().await.unwrap();
    let mut filters_found = 0;
    for filter_id in ["a", "b", "c"] {
        let found = filters::find(&mut conn, user_id, filter_id).await.unwrap();
        filters_found += usize::from(found.is_some());
    }
    let session = interactive_auth::find(&mut conn, user_id.as_str(), 0).await.unwrap();
    let user = users::find(&mut conn, user_id).await.unwrap();
    [
        account_data::all(&mut conn, user_id).await.unwrap().len(),
        filters_found,
        profiles::fields(&mut conn, user_id).await.unwrap().len(),
        usize::from(session.is_some()),
        usize::from(user.is_some_and(|user| user.password_hash.is_some())),
    ]
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(erasure::erased_users(&mut conn).await.unwrap().is_empty());
        erasure::delete_interactive_auth(&mut conn, alice()).await.unwrap();
        erasure::delete_password(&mut conn, alice()).await.unwrap();
        erasure::delete_profile(&mut conn, alice()).await.unwrap();
        assert_eq!(erasure::delete_account_data(&mut conn, alice(), 9).await.unwrap(), 0);
        assert_eq!(erasure::delete_filters(&mut conn, alice(), 9).await.unwrap(), 0);
    }

    async fn users_are_erased_once(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let unusual = UserId::parse("@it's \"so\" 🦀:test").unwrap();
        for user_id in [bob(), alice(), bob(), &unusual] {
            erasure::mark(&mut conn, user_id).await.unwrap();
        }
        let mut found = erasure::erased_users(&mut conn).await.unwrap();
        found.sort();
        let expected = [alice(), bob(), &*unusual].map(|user_id| (user_id.to_owned(), Pos(0)));
        assert_eq!(found, expected);
    }

    async fn one_user_is_erased_bit_by_bit_and_no_other(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for user_id in [alice(), bob()] {
            fill(&node, user_id).await;
        }
        assert_eq!(counts(&node, alice()).await, [3, 3, 3, 1, 1]);
        let mut conn = node.store.write().await.unwrap();
        for (limit, deleted) in [(0, 0), (2, 2), (2, 1), (i64::MAX, 0)] {
            let found = erasure::delete_account_data(&mut conn, alice(), limit).await.unwrap();
            assert_eq!(found, deleted);
            let found = erasure::delete_filters(&mut conn, alice(), limit).await.unwrap();
            assert_eq!(found, deleted);
        }
        erasure::delete_profile(&mut conn, alice()).await.unwrap();
        erasure::delete_interactive_auth(&mut conn, alice()).await.unwrap();
        erasure::delete_password(&mut conn, alice()).await.unwrap();
        conn.commit().await.unwrap();
        assert_eq!(counts(&node, alice()).await, [0, 0, 0, 0, 1], "the account is open");

        let closed = AccountUpdateRow {
            user_id: alice().to_string(), deactivated: Some(1), ..AccountUpdateRow::default()
        };
        write(&node, with(|append| append.account_updates.push(closed))).await;
        let mut conn = node.store.write().await.unwrap();
        erasure::delete_password(&mut conn, alice()).await.unwrap();
        conn.commit().await.unwrap();
        assert_eq!(counts(&node, alice()).await, [0, 0, 0, 0, 0]);
        assert_eq!(counts(&node, bob()).await, [3, 3, 3, 1, 1]);
    }
}
