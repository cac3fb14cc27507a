use ruma::user_id;
use stoa_accounts::{ChangePasswordError, LoginError, NewUser, RegistrationError, UnfitPassword};
use stoa_base::Actor;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{PASSWORD, Taken, actor, log_in, login, taken, user};

both_databases! {
    async fn the_new_password_is_the_one_that_counts(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in(&node.accounts, &alice).await;
        let alice_actor = actor(&node.accounts, &begun).await;
        node.accounts.change_password(&alice_actor, "new pässwörd", false).await.unwrap();
        let old = node.accounts.log_in_with_password(login("alice", PASSWORD)).await;
        assert!(matches!(old, Err(LoginError::Forbidden)), "{old:?}");
        node.accounts.log_in_with_password(login("alice", "new pässwörd")).await.unwrap();
    }

    async fn other_devices_go_if_asked_to_and_this_one_stays(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let this = log_in(&node.accounts, &alice).await;
        let other = log_in(&node.accounts, &alice).await;
        let alice_actor = actor(&node.accounts, &this).await;
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Good);

        node.accounts.change_password(&alice_actor, "second", false).await.unwrap();
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Good);
        node.accounts.change_password(&alice_actor, "third", true).await.unwrap();
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
                node.accounts.log_in_with_password(login("alice", &old)),
                node.accounts.change_password(&alice_actor, &new, true),
            );
            changed.unwrap();
            if let Ok(begun) = logged_in {
                let token = begun.tokens.access_token;
                assert_eq!(taken(&node.accounts, &token).await, Taken::Unknown, "round {round}");
            }
            passwords.push(new);
        }
    }

    async fn a_password_has_a_longest_length_and_needs_a_user(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let alice_actor = Actor::user(&alice);
        let long = node.accounts.change_password(&alice_actor, &"x".repeat(1_025), true).await;
        assert!(matches!(long, Err(ChangePasswordError::Password(UnfitPassword::TooLong))), "{long:?}");
        let empty = node.accounts.change_password(&alice_actor, "", true).await;
        assert!(matches!(empty, Err(ChangePasswordError::Password(UnfitPassword::Empty))));
        let bob = NewUser { username: "bob", password: Some(""), admin: false, display_name: None };
        let empty = node.accounts.create_user(&alice_actor, bob).await;
        assert!(matches!(empty, Err(RegistrationError::Password(UnfitPassword::Empty))));
        let nobody = Actor::user(user_id!("@nobody:test"));
        let answer = node.accounts.change_password(&nobody, "new", true).await;
        assert!(matches!(answer, Err(ChangePasswordError::UnknownUser)), "{answer:?}");
    }
}
