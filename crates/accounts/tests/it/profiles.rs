use ruma::{UserId, user_id};
use serde_json::{Value, json};
use stoa_accounts::{Accounts, ProfileChange, ProfileError};
use stoa_base::Actor;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::user;

async fn set(
    accounts: &Accounts,
    user: &UserId,
    field: &str,
    value: Value,
) -> Result<ProfileChange, ProfileError> {
    accounts.profiles.set_field(&Actor::user(user), field, Some(&value)).await
}

both_databases! {
    async fn a_field_can_be_set_read_and_removed(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let fields = [
            ("displayname", json!("Älice")),
            // A value that is not an mxc URI is also accepted.
            ("avatar_url", json!("LemurLover")),
            ("m.tz", json!("Europe/Berlin")),
            ("org.example.job", json!({"title": ["a", null, 1]})),
            ("org.example.null", Value::Null),
        ];
        assert_eq!(node.accounts.profiles.get(&alice).await.unwrap().unwrap().len(), 0);
        for (field, value) in &fields {
            assert_eq!(node.accounts.profiles.field(&alice, field).await.unwrap(), None);
            let change = set(&node.accounts, &alice, field, value.clone()).await.unwrap();
            assert_eq!(change, ProfileChange { old: None, new: Some(value.clone()) });
            let found = node.accounts.profiles.field(&alice, field).await.unwrap();
            assert_eq!(found.as_ref(), Some(value));
        }
        let profile = node.accounts.profiles.get(&alice).await.unwrap().unwrap();
        let expected = fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone()));
        assert_eq!(profile, expected.collect());
        let member = node.accounts.profiles.member_profile(&alice).await.unwrap();
        assert_eq!(member.displayname.as_deref(), Some("Älice"));
        assert_eq!(member.avatar_url.as_deref(), Some("LemurLover"));

        let alice_actor = Actor::user(&alice);
        let removed = node.accounts.profiles.set_field(&alice_actor, "m.tz", None).await.unwrap();
        assert_eq!(removed, ProfileChange { old: Some(json!("Europe/Berlin")), new: None });
        assert_eq!(node.accounts.profiles.field(&alice, "m.tz").await.unwrap(), None);
        let again = node.accounts.profiles.set_field(&alice_actor, "m.tz", None).await.unwrap();
        assert!(!again.is_change());
    }

    async fn a_deactivated_account_cannot_set_its_profile(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        node.accounts.users.deactivate(&Actor::user(&alice), &alice).await.unwrap();
        let late = set(&node.accounts, &alice, "displayname", json!("A")).await;
        assert!(matches!(late, Err(ProfileError::UnknownUser)), "{late:?}");
    }

    async fn a_change_returns_the_old_and_new_values(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let set = async |value| set(&node.accounts, &alice, "displayname", value).await.unwrap();
        assert!(set(json!("A")).await.is_change());
        let change = set(json!("B")).await;
        assert_eq!(change, ProfileChange { old: Some(json!("A")), new: Some(json!("B")) });
        assert!(!set(json!("B")).await.is_change());
        for nothing in [json!(""), Value::Null] {
            assert!(set(nothing).await.is_change());
            let profile = node.accounts.profiles.get(&alice).await.unwrap().unwrap();
            assert!(profile.is_empty());
            set(json!("B")).await;
        }
    }

    async fn an_unknown_user_has_no_profile(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let nobody = user_id!("@nobody:test");
        assert_eq!(node.accounts.profiles.get(nobody).await.unwrap(), None);
        assert_eq!(node.accounts.profiles.field(nobody, "displayname").await.unwrap(), None);
        assert_eq!(node.accounts.profiles.field(nobody, "no\0field").await.unwrap(), None);
        let answer = set(&node.accounts, nobody, "displayname", json!("x")).await;
        assert!(matches!(answer, Err(ProfileError::UnknownUser)), "{answer:?}");
    }

    async fn invalid_names_and_values_are_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let set = async |field: &str, value| set(&node.accounts, &alice, field, value).await;
        for value in [json!(1), json!({}), json!([]), json!(true)] {
            for field in ["displayname", "avatar_url"] {
                let answer = set(field, value.clone()).await;
                assert!(matches!(answer, Err(ProfileError::InvalidValue(_))), "{answer:?}");
            }
        }
        set("displayname", json!("ü".repeat(256))).await.unwrap();
        let answer = set("displayname", json!("ü".repeat(257))).await;
        assert!(matches!(answer, Err(ProfileError::InvalidValue(_))), "{answer:?}");
        let answer = set("avatar_url", json!("x".repeat(1_001))).await;
        assert!(matches!(answer, Err(ProfileError::InvalidValue(_))), "{answer:?}");
        let answer = set("Not.Allowed", json!(1)).await;
        assert!(matches!(answer, Err(ProfileError::InvalidField)), "{answer:?}");
        let answer = set(&"x".repeat(256), json!(1)).await;
        assert!(matches!(answer, Err(ProfileError::FieldTooLong)), "{answer:?}");
    }

    async fn a_profile_that_is_too_large_is_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let set = async |field: &str, length| {
            set(&node.accounts, &alice, field, json!("x".repeat(length))).await
        };
        let answer = set("a", 65_536).await;
        assert!(matches!(answer, Err(ProfileError::TooLarge)), "{answer:?}");
        // {"a":"…","b":"…"} is 15 bytes plus what is between the quotes.
        set("a", 60_000).await.unwrap();
        set("b", 65_536 - 60_000 - 15).await.unwrap();
        let answer = set("b", 65_536 - 60_000 - 14).await;
        assert!(matches!(answer, Err(ProfileError::TooLarge)), "{answer:?}");
        set("a", 1).await.unwrap();
        set("b", 60_000).await.unwrap();
    }

    async fn concurrent_changes_stay_within_the_size_limit(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let sets: Vec<_> = (0..4)
            .map(|number| {
                let (accounts, alice) = (std::sync::Arc::clone(&node.accounts), alice.clone());
                let value = json!("x".repeat(30_000));
                tokio::spawn(async move {
                    set(&accounts, &alice, &format!("f{number}"), value).await.is_ok()
                })
            })
            .collect();
        let mut kept = 0;
        for is_kept in sets {
            kept += usize::from(is_kept.await.unwrap());
        }
        assert_eq!(kept, 2);
    }
}
