use serde_json::value::RawValue;
use stoa_accounts::{Failure, FilterError};
use stoa_base::Actor;
use stoa_storage::log::AppendError;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::user;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

both_databases! {
    async fn a_filter_is_found_by_its_id(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let bob = user(&node.accounts, "bob").await;
        let json = r#"{"org.example":true,"room":{"timeline":{"limit":10}}}"#;
        let alice_actor = Actor::user(&alice);
        let id = node.accounts.filters.create(&alice_actor, &raw(json)).await.unwrap();
        for round in ["from the database", "from memory"] {
            let filter = node.accounts.filters.get(&alice, &id).await.unwrap().unwrap();
            assert_eq!(filter.source.get(), json, "{round}");
            let limit = filter.definition.room.timeline.limit.map(u64::from);
            assert_eq!(limit, Some(10), "{round}");
        }
        assert!(node.accounts.filters.get(&bob, &id).await.unwrap().is_none());
        for unknown in ["", "0", "\0", "{}"] {
            assert!(node.accounts.filters.get(&alice, unknown).await.unwrap().is_none());
        }
    }

    async fn the_same_filter_has_the_same_id(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = Actor::user(&user(&node.accounts, "alice").await);
        let first = node.accounts.filters.create(&alice, &raw(r#"{"room":{}}"#)).await.unwrap();
        let same = node.accounts.filters.create(&alice, &raw(r#"{ "room": {} }"#)).await.unwrap();
        let other = node.accounts.filters.create(&alice, &raw("{}")).await.unwrap();
        assert_eq!(first, same);
        assert_ne!(first, other);
    }

    async fn an_invalid_filter_is_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = Actor::user(&user(&node.accounts, "alice").await);
        for json in ["[]", r#"{"room":{"timeline":"x"}}"#, r#"{"presence":"x"}"#] {
            let answer = node.accounts.filters.create(&alice, &raw(json)).await;
            assert!(matches!(answer, Err(FilterError::Invalid(_))), "{json}: {answer:?}");
        }
    }

    async fn a_deactivated_account_stores_no_filter(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let actor = Actor::user(&alice);
        node.accounts.users.deactivate(&actor, &alice).await.unwrap();
        let late = node.accounts.filters.create(&actor, &raw("{}")).await;
        let ended =
            matches!(late, Err(FilterError::Failure(Failure::Append(AppendError::SessionEnded))));
        assert!(ended, "{late:?}");
    }

    async fn filters_per_user_are_limited(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let mut conn = node.node.store.write().await.unwrap();
        for number in 0..999 {
            let id = format!("filter{number}");
            let is_there =
                stoa_storage::repo::filters::insert(&mut conn, &alice, &id, "{}", 0, 1_000).await;
            assert!(is_there.unwrap());
        }
        conn.commit().await.unwrap();
        let alice = Actor::user(&alice);
        let last = node.accounts.filters.create(&alice, &raw("{}")).await.unwrap();
        let over = node.accounts.filters.create(&alice, &raw(r#"{"room":{}}"#)).await;
        assert!(matches!(over, Err(FilterError::TooMany)), "{over:?}");
        assert_eq!(node.accounts.filters.create(&alice, &raw("{}")).await.unwrap(), last);
    }
}
