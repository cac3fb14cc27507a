use ruma::UserId;
use stoa_storage::{
    Conn,
    log::{AccountUpdateRow, Append, SessionOrigin, SessionRow, TokenRemovalRow, TokenRow},
    repo::tokens,
};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, bob, make_device, make_user, refused};
use crate::{with, write};

/// Accounts and devices, without which no token is valid. Bob is an admin.
async fn fill(node: &TestNode) {
    for (user_id, admin) in [(alice(), false), (bob(), true)] {
        make_user(node, user_id, None, admin).await;
        for device_id in ["A", "B"] {
            make_device(node, user_id, device_id, None).await;
        }
    }
}

/// A session, and a token with the same name.
fn session(name: &str, user_id: &UserId, device_id: Option<&str>) -> Append {
    with(|append| {
        append.sessions.push(SessionRow {
            session_id: name.to_owned(),
            user_id: user_id.to_string(),
            device_id: device_id.map(str::to_owned),
            origin: SessionOrigin::Password,
            created_ms: 1,
            expires_ms: None,
        });
        append.tokens.push(token(name, name, user_id));
    })
}

/// A token whose refresh token has the same name with the prefix `r `.
fn token(name: &str, session_id: &str, user_id: &UserId) -> TokenRow {
    TokenRow {
        token_hash: name.to_owned(),
        user_id: user_id.to_string(),
        session_id: session_id.to_owned(),
        generation: 0,
        created_ms: 1,
        expires_ms: None,
        refresh_hash: Some(format!("r {name}")),
        parent_hash: None,
    }
}

/// Whether the token with this name and its refresh token are valid.
async fn is_good(conn: &mut Conn, name: &str) -> bool {
    let access = tokens::by_access_hash(conn, name).await.unwrap().is_some();
    let refresh = tokens::by_refresh_hash(conn, &format!("r {name}")).await.unwrap().is_some();
    assert_eq!(access, refresh, "{name}");
    access
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert!(tokens::by_access_hash(&mut conn, "a").await.unwrap().is_none());
        assert!(tokens::by_refresh_hash(&mut conn, "a").await.unwrap().is_none());
        assert!(tokens::by_spent_hash(&mut conn, "a").await.unwrap().is_none());
        assert!(tokens::session_span(&mut conn, "a").await.unwrap().is_none());
    }

    async fn a_token_is_found_by_either_hash(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut first = session("access", alice(), Some("A"));
        first.sessions[0].expires_ms = Some(i64::MAX);
        first.tokens[0].expires_ms = Some(i64::MIN);
        write(&node, first).await;
        write(&node, session("other", bob(), Some("B"))).await;
        let mut second = with(|append| append.tokens.push(token("next", "other", bob())));
        second.tokens[0].generation = i64::MAX;
        second.tokens[0].parent_hash = Some("other".to_owned());
        write(&node, second).await;

        let mut conn = node.store.read().await.unwrap();
        for found in [
            tokens::by_access_hash(&mut conn, "access").await.unwrap().unwrap(),
            tokens::by_refresh_hash(&mut conn, "r access").await.unwrap().unwrap(),
        ] {
            assert_eq!((found.token_hash.as_str(), found.session_id.as_str()), ("access", "access"));
            assert_eq!((found.user_id.as_str(), found.device_id.as_str()), ("@alice:test", "A"));
            assert_eq!((found.expires_ms, found.session_expires_ms), (Some(i64::MIN), Some(i64::MAX)));
            assert_eq!((found.generation, found.parent_hash, found.admin), (0, None, false));
        }
        let found = tokens::by_access_hash(&mut conn, "next").await.unwrap().unwrap();
        assert_eq!((found.session_id.as_str(), found.generation), ("other", i64::MAX));
        assert_eq!((found.parent_hash.as_deref(), found.admin), (Some("other"), true));
        assert_eq!((found.expires_ms, found.session_expires_ms), (None, None));
        // One kind of hash is not accepted for the other, and case matters.
        assert!(tokens::by_access_hash(&mut conn, "r access").await.unwrap().is_none());
        assert!(tokens::by_refresh_hash(&mut conn, "access").await.unwrap().is_none());
        assert!(tokens::by_access_hash(&mut conn, "ACCESS").await.unwrap().is_none());
    }

    async fn a_token_is_valid_only_with_its_account_device_and_parent(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let carol = ruma::user_id!("@carol:test");
        for (name, user_id, device_id) in [
            ("good", alice(), Some("A")),
            ("no such device", alice(), Some("gone")),
            ("of no device", alice(), None),
            ("no account", carol, Some("A")),
            ("closed account", bob(), Some("A")),
        ] {
            write(&node, session(name, user_id, device_id)).await;
        }
        for (name, parent) in [("with its parent", "good"), ("without its parent", "gone")] {
            let mut append = with(|append| append.tokens.push(token(name, "good", alice())));
            append.tokens[0].parent_hash = Some(parent.to_owned());
            write(&node, append).await;
        }
        let closed = AccountUpdateRow {
            user_id: bob().to_string(), deactivated: Some(1), ..AccountUpdateRow::default()
        };
        write(&node, with(|append| append.account_updates.push(closed))).await;
        let mut conn = node.store.read().await.unwrap();
        for (name, good) in [
            ("good", true), ("no such device", false), ("of no device", false),
            ("no account", false), ("closed account", false), ("with its parent", true),
            ("without its parent", false),
        ] {
            assert_eq!(is_good(&mut conn, name).await, good, "{name}");
        }
    }

    async fn a_refresh_token_that_was_replaced_names_its_session(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        write(&node, session("1", alice(), Some("A"))).await;
        write(&node, session("2", bob(), Some("A"))).await;
        let mut next = with(|append| append.tokens.push(token("3", "1", alice())));
        next.tokens[0].parent_hash = Some("1".to_owned());
        next.tokens[0].generation = 1;
        write(&node, next).await;
        write(&node, with(|append| append.token_removals.push(TokenRemovalRow {
            user_id: alice().to_string(), token_hash: "1".to_owned(), successor: "3".to_owned(),
        }))).await;
        let mut conn = node.store.read().await.unwrap();
        let spent = tokens::by_spent_hash(&mut conn, "r 1").await.unwrap().unwrap();
        assert_eq!((spent.session_id.as_str(), spent.user_id.as_str()), ("1", "@alice:test"));
        assert_eq!(spent.device_id.as_deref(), Some("A"));
        for hash in ["r 2", "r 3", "1", "R 1"] {
            assert!(tokens::by_spent_hash(&mut conn, hash).await.unwrap().is_none(), "{hash}");
        }
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        for text in UNUSUAL {
            make_device(&node, alice(), text, None).await;
            write(&node, session(text, alice(), Some(text))).await;
            let mut conn = node.store.read().await.unwrap();
            assert!(is_good(&mut conn, text).await, "{text:?}");
            let lasts = tokens::SessionSpan { expires_ms: None, ended_ms: None };
            assert_eq!(tokens::session_span(&mut conn, text).await.unwrap(), Some(lasts));
        }
        let mut conn = node.store.read().await.unwrap();
        refused(tokens::by_access_hash(&mut conn, "a\0b").await);
        refused(tokens::by_refresh_hash(&mut conn, "a\0b").await);
        refused(tokens::by_spent_hash(&mut conn, "a\0b").await);
        refused(tokens::session_span(&mut conn, "a\0b").await);
    }
}
