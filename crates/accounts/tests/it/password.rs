use std::{sync::Arc, time::Duration};

use ruma::user_id;
use stoa_accounts::{
    ChangePasswordError, LoginError, NewUser, PasswordLogin, RegisterError, UnfitPassword,
};
use stoa_base::Actor;
use stoa_storage::log::Append;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{PASSWORD, Taken, actor, log_in, login, taken, user};

both_databases! {
    async fn only_the_new_password_works_after_a_change(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in(&node.accounts, &alice).await;
        let alice_actor = actor(&node.accounts, &begun).await;
        node.accounts.passwords.change(&alice_actor, "new pässwörd", false).await.unwrap();
        let old = node.accounts.passwords.log_in(login("alice", PASSWORD)).await;
        assert!(matches!(old, Err(LoginError::Forbidden)), "{old:?}");
        node.accounts.passwords.log_in(login("alice", "new pässwörd")).await.unwrap();
    }

    async fn other_devices_are_removed_on_request_but_not_this_one(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let this = log_in(&node.accounts, &alice).await;
        let other = log_in(&node.accounts, &alice).await;
        let alice_actor = actor(&node.accounts, &this).await;
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Good);

        node.accounts.passwords.change(&alice_actor, "second", false).await.unwrap();
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Good);
        node.accounts.passwords.change(&alice_actor, "third", true).await.unwrap();
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Unknown);
        assert_eq!(taken(&node.accounts, &this.tokens.access_token).await, Taken::Good);
    }

    async fn no_login_with_the_old_password_outlives_the_change(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let mut passwords = vec![PASSWORD.to_owned()];
        for round in 0..15 {
            let old = passwords.last().unwrap().clone();
            let new = format!("password {round}");
            let alice_actor = Actor::user(&alice);
            let (logged_in, changed) = tokio::join!(
                node.accounts.passwords.log_in(login("alice", &old)),
                node.accounts.passwords.change(&alice_actor, &new, true),
            );
            changed.unwrap();
            if let Ok(begun) = logged_in {
                let token = begun.tokens.access_token;
                assert_eq!(taken(&node.accounts, &token).await, Taken::Unknown, "round {round}");
            }
            passwords.push(new);
        }
    }

    async fn a_canceled_change_is_complete_or_not_made(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let mut password = PASSWORD.to_owned();
        for round in 0..20 {
            let other = PasswordLogin { password: &password, ..login("alice", "") };
            let other = node.accounts.passwords.log_in(other).await.unwrap();
            let new = format!("password {round}");
            let (accounts, actor) = (Arc::clone(&node.accounts), Actor::user(&alice));
            let changing = {
                let new = new.clone();
                tokio::spawn(async move { accounts.passwords.change(&actor, &new, true).await })
            };
            tokio::time::sleep(Duration::from_micros(200 * round)).await;
            changing.abort();
            let _ = changing.await;
            // When this append is written, so is any append that was queued before it.
            node.node.writer.append(Append::new()).await.unwrap();
            let other = taken(&node.accounts, &other.tokens.access_token).await;
            match node.accounts.passwords.log_in(login("alice", &new)).await {
                Ok(_) => {
                    assert_eq!(other, Taken::Unknown, "round {round}");
                    password = new;
                }
                Err(LoginError::Forbidden) => assert_eq!(other, Taken::Good, "round {round}"),
                Err(error) => panic!("round {round}: {error}"),
            }
        }
    }

    async fn a_session_that_has_ended_changes_no_password(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let thief = log_in(&node.accounts, &alice).await;
        let thief = actor(&node.accounts, &thief).await;
        node.accounts.passwords.change(&Actor::user(&alice), "second", true).await.unwrap();
        let answer = node.accounts.passwords.change(&thief, "third", true).await;
        assert!(matches!(answer, Err(ChangePasswordError::Failure(_))), "{answer:?}");
        node.accounts.passwords.log_in(login("alice", "second")).await.unwrap();
    }

    async fn a_too_long_password_or_unknown_user_is_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let alice_actor = Actor::user(&alice);
        let long = node.accounts.passwords.change(&alice_actor, &"x".repeat(1_025), true).await;
        assert!(matches!(long, Err(ChangePasswordError::Password(UnfitPassword::TooLong))), "{long:?}");
        let empty = node.accounts.passwords.change(&alice_actor, "", true).await;
        assert!(matches!(empty, Err(ChangePasswordError::Password(UnfitPassword::Empty))));
        let bob = NewUser { username: "bob", password: Some(""), admin: false, display_name: None };
        let empty = node.accounts.registrar.create_user(&alice_actor, bob).await;
        assert!(matches!(empty, Err(RegisterError::Password(UnfitPassword::Empty))));
        let nobody = Actor::user(user_id!("@nobody:test"));
        let answer = node.accounts.passwords.change(&nobody, "new", true).await;
        assert!(matches!(answer, Err(ChangePasswordError::UnknownUser)), "{answer:?}");
    }
}
