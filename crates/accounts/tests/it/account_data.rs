use ruma::user_id;
use serde_json::value::RawValue;
use stoa_accounts::{AccountDataError, Failure, put_account_data};
use stoa_base::{Actor, Pos, RoomNid};
use stoa_storage::{
    log::{Append, AppendError, head},
    repo::account_data::{GLOBAL, all, changed, of_rooms},
};
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{actor, log_in, user};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

const ROOM: Option<RoomNid> = Some(RoomNid(7));

both_databases! {
    async fn account_data_is_returned_as_it_was_set(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let alice_actor = Actor::user(&alice);
        for room in [None, ROOM] {
            for json in [r#"{"b":1,"a":"\u0000"}"#, r#"{"value":"second"}"#, "{}"] {
                node.accounts
                    .account_data.set(&alice_actor, room, "test.key", &raw(json))
                    .await
                    .unwrap();
                let found = node.accounts.account_data.get(&alice, room, "test.key").await.unwrap();
                assert_eq!(found.unwrap().get(), json);
            }
        }
        let other_room = Some(RoomNid(8));
        for (user, room, kind) in [
            (user_id!("@bob:test"), None, "test.key"),
            (&*alice, other_room, "test.key"),
            (&*alice, None, "test.other"),
            (&*alice, None, "test\0key"),
        ] {
            assert!(node.accounts.account_data.get(user, room, kind).await.unwrap().is_none());
        }
    }

    /// A request that is in progress when its session ends must not leave data behind that the
    /// erasure of the account has already passed over.
    async fn nothing_is_set_through_a_session_that_has_ended(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let session = log_in(&node.accounts, &alice).await;
        let actor = actor(&node.accounts, &session).await;
        node.accounts.account_data.set(&actor, None, "one", &raw("{}")).await.unwrap();
        node.accounts.users.deactivate(&actor, &alice).await.unwrap();
        let late = node.accounts.account_data.set(&actor, None, "two", &raw("{}")).await;
        let ended = matches!(
            late,
            Err(AccountDataError::Failure(Failure::Append(AppendError::SessionEnded)))
        );
        assert!(ended, "{late:?}");
        assert!(node.accounts.account_data.get(&alice, None, "two").await.unwrap().is_none());
    }

    async fn managed_types_and_bad_content_are_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = Actor::user(&user(&node.accounts, "alice").await);
        let set = async |kind: &str, json: &str| {
            node.accounts.account_data.set(&alice, ROOM, kind, &raw(json)).await
        };
        for kind in ["m.fully_read", "m.push_rules"] {
            assert!(matches!(set(kind, "{}").await, Err(AccountDataError::Managed)), "{kind}");
        }
        for json in ["[]", "1", "\"{}\"", "null", "true"] {
            let answer = set("test", json).await;
            assert!(matches!(answer, Err(AccountDataError::NotAnObject)), "{json}: {answer:?}");
        }
        for kind in ["", "a\0b", &"x".repeat(256)] {
            let answer = set(kind, "{}").await;
            assert!(matches!(answer, Err(AccountDataError::InvalidType)), "{kind:?}: {answer:?}");
        }
        let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(512 * 1_024));
        let answer = set("test", &large).await;
        assert!(matches!(answer, Err(AccountDataError::TooLarge)), "{answer:?}");
    }

    async fn a_reader_gets_what_changed_since(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let alice_actor = Actor::user(&alice);
        let set = async |room, kind: &str, json: &str| {
            node.accounts.account_data.set(&alice_actor, room, kind, &raw(json)).await.unwrap();
            head(&mut node.node.store.read().await.unwrap()).await.unwrap()
        };
        let bob = Actor::user(&user(&node.accounts, "bob").await);
        node.accounts.account_data.set(&bob, None, "a", &raw("{}")).await.unwrap();
        let first = set(None, "a", "{}").await;
        let second = set(ROOM, "b", r#"{"n":1}"#).await;
        let third = set(None, "a", r#"{"n":2}"#).await;
        assert!(first < second && second < third);

        let mut conn = node.node.store.snapshot().await.unwrap();
        let mut names = async |after, up_to| {
            let found = changed(&mut conn, &alice, after, up_to).await.unwrap();
            found.into_iter().map(|data| (data.room, data.kind, data.pos)).collect::<Vec<_>>()
        };
        let b = (ROOM, "b".to_owned(), second);
        let a = (None, "a".to_owned(), third);
        assert_eq!(names(Pos::START, third).await, [b.clone(), a.clone()]);
        assert_eq!(names(first, third).await, [b.clone(), a.clone()]);
        assert_eq!(names(second, third).await, [a]);
        assert_eq!(names(first, second).await, [b]);
        assert_eq!(names(third, third).await, []);

        let everything = all(&mut conn, &alice).await.unwrap();
        assert_eq!(everything.len(), 2);
        let of_the_room = of_rooms(&mut conn, &alice, ROOM.as_slice()).await.unwrap();
        assert_eq!(of_the_room.len(), 1);
        assert_eq!(of_the_room[0].content, r#"{"n":1}"#);
        let global = of_rooms(&mut conn, &alice, &[GLOBAL]).await.unwrap();
        assert_eq!(global[0].content, r#"{"n":2}"#);
    }

    async fn setting_the_same_content_again_appends_nothing(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = Actor::user(&user(&node.accounts, "alice").await);
        let set = async |json: &str| {
            node.accounts.account_data.set(&alice, None, "a", &raw(json)).await.unwrap();
            head(&mut node.node.store.read().await.unwrap()).await.unwrap()
        };
        let first = set("{}").await;
        assert_eq!(set("{}").await, first);
        assert!(set(r#"{"n":1}"#).await > first);
    }

    async fn types_are_limited_but_can_be_set_again(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let mut append = Append::new();
        for kind in 0..1_000 {
            put_account_data(&mut append, &alice, None, &format!("t{kind}"), "{}".to_owned());
        }
        node.node.writer.append(append).await.unwrap();
        let alice = Actor::user(&alice);
        let set = async |room, kind: &str| {
            node.accounts.account_data.set(&alice, room, kind, &raw(r#"{"n":1}"#)).await
        };
        let answer = set(None, "one more").await;
        assert!(matches!(answer, Err(AccountDataError::TooMany)), "{answer:?}");
        set(None, "t5").await.unwrap();
        set(ROOM, "one more").await.unwrap();
    }

    async fn the_server_sets_its_own_types(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let mut append = Append::new();
        let content = r#"{"event_id":"$e"}"#.to_owned();
        put_account_data(&mut append, &alice, ROOM, "m.fully_read", content.clone());
        node.node.writer.append(append).await.unwrap();
        let found = node.accounts.account_data.get(&alice, ROOM, "m.fully_read").await.unwrap();
        assert_eq!(found.unwrap().get(), content);
    }
}
