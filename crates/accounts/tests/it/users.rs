use ruma::user_id;
use stoa_accounts::{NewUser, RegisterError};
use stoa_base::Actor;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{PASSWORD, Taken, log_in, log_in_from, refreshable, taken, user};

both_databases! {
    async fn an_admin_creates_users_even_if_registration_is_closed(db: TestDatabase) {
        let mut options = TestAccounts::options();
        options.registration_enabled = false;
        let node = TestAccounts::start_with(db, options).await;
        let admin = Actor::user(user_id!("@admin:test"));
        let new = NewUser {
            username: "Alice", password: Some(PASSWORD), admin: true, display_name: Some("Alice A."),
        };
        let alice = node.accounts.registrar.create_user(&admin, new).await.unwrap();
        assert_eq!(alice, "@alice:test");
        let found = node.accounts.users.find(&alice).await.unwrap().unwrap();
        assert!(found.is_admin && !found.is_deactivated);
        assert_eq!(found.created_ms, node.node.clock.now_ms());
        let profile = node.accounts.profiles.member_profile(&alice).await.unwrap();
        assert_eq!(profile.displayname.as_deref(), Some("Alice A."));
        let token = log_in(&node.accounts, &alice).await.tokens.access_token;
        assert!(node.accounts.sessions.find(&token).await.unwrap().is_admin);

        let again = node.accounts.registrar.create_user(&admin, new).await;
        assert!(matches!(again, Err(RegisterError::UserInUse)), "{again:?}");
        let bad = node.accounts.registrar.create_user(&admin, NewUser { username: "a,b", ..new }).await;
        assert!(matches!(bad, Err(RegisterError::InvalidUsername(_))), "{bad:?}");
        assert!(node.accounts.users.find(user_id!("@nobody:test")).await.unwrap().is_none());
    }

    async fn deactivating_an_account_ends_all_its_sessions(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let plain = log_in(&node.accounts, &alice).await.tokens;
        let refreshed = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        assert_eq!(taken(&node.accounts, &plain.access_token).await, Taken::Good);
        let admin = Actor::user(user_id!("@admin:test"));
        for _ in 0..2 {
            assert!(node.accounts.users.deactivate(&admin, &alice).await.unwrap());
        }
        assert!(node.accounts.users.find(&alice).await.unwrap().unwrap().is_deactivated);
        assert_eq!(taken(&node.accounts, &plain.access_token).await, Taken::Unknown);
        assert_eq!(taken(&node.accounts, &refreshed.access_token).await, Taken::Unknown);
        assert!(node.accounts.sessions.refresh(&refreshed.refresh_token.unwrap(), None).await.is_err());
        assert!(node.accounts.devices.list(&alice).await.unwrap().is_empty());
        assert!(!node.accounts.users.deactivate(&admin, user_id!("@nobody:test")).await.unwrap());
    }
}
