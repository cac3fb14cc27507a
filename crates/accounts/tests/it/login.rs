use std::time::Duration;

use ruma::device_id;
use stoa_accounts::{AttemptLimits, LoginError, NewDevice, Options, PasswordLogin, RefreshError};
use stoa_base::Actor;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{
    PASSWORD, Taken, device, from_address, log_in, log_in_from, login, taken, user,
};

fn limited() -> Options {
    let limits = AttemptLimits {
        window: Duration::from_mins(1),
        failed_logins_per_user: 3,
        failed_logins_per_address: 5,
        registrations_per_address: 2,
    };
    Options { limits: Some(limits), ..TestAccounts::options() }
}

both_databases! {
    async fn a_localpart_and_a_full_id_log_in_whatever_their_case(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        user(&node.accounts, "alice").await;
        for name in ["alice", "@alice:test", "ALICE", "@Alice:test"] {
            let begun = node.accounts.passwords.log_in(login(name, PASSWORD)).await.unwrap();
            assert_eq!(begun.user_id, "@alice:test", "{name}");
            assert!(!begun.device_id.as_str().is_empty());
            assert!(begun.tokens.refresh_token.is_none());
            assert!(begun.tokens.expires_in.is_none());
            assert_eq!(taken(&node.accounts, &begun.tokens.access_token).await, Taken::Good);
        }
    }

    async fn a_wrong_password_and_an_unknown_user_get_the_same_error(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        user(&node.accounts, "alice").await;
        for (name, password) in [
            ("alice", "wrong"),
            ("alice", ""),
            ("bob", PASSWORD),
            ("@alice:elsewhere", PASSWORD),
            ("al\0ice", PASSWORD),
            ("", PASSWORD),
        ] {
            let answer = node.accounts.passwords.log_in(login(name, password)).await;
            assert!(matches!(answer, Err(LoginError::Forbidden)), "{name:?}: {answer:?}");
        }
    }

    async fn a_user_without_a_password_cannot_log_in_with_one(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let sso = stoa_accounts::NewUser {
            username: "sso", password: None, admin: false, display_name: None,
        };
        let admin = ruma::user_id!("@admin:test");
        node.accounts.registrar.create_user(&Actor::user(admin), sso).await.unwrap();
        for password in ["", PASSWORD] {
            let answer = node.accounts.passwords.log_in(login("sso", password)).await;
            assert!(matches!(answer, Err(LoginError::Forbidden)), "{answer:?}");
        }
    }

    async fn only_the_right_password_reveals_that_an_account_is_deactivated(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        assert!(node.accounts.users.deactivate(&Actor::user(&alice), &alice).await.unwrap());
        let answer = node.accounts.passwords.log_in(login("alice", PASSWORD)).await;
        assert!(matches!(answer, Err(LoginError::Deactivated)), "{answer:?}");
        let answer = node.accounts.passwords.log_in(login("alice", "wrong")).await;
        assert!(matches!(answer, Err(LoginError::Forbidden)), "{answer:?}");
    }

    async fn the_requested_device_is_used(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let phone = NewDevice { display_name: Some("Phone"), ..device("PHONE") };
        let begun = log_in_from(&node.accounts, &alice, phone).await.unwrap();
        assert_eq!(begun.device_id, "PHONE");
        let found = node.accounts.devices.get(&alice, device_id!("PHONE")).await.unwrap().unwrap();
        assert_eq!(found.display_name.as_deref(), Some("Phone"));
        // https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login: the name is
        // ignored if the device is known already.
        let again = NewDevice { display_name: Some("Other"), ..device("PHONE") };
        log_in_from(&node.accounts, &alice, again).await.unwrap();
        let found = node.accounts.devices.get(&alice, device_id!("PHONE")).await.unwrap().unwrap();
        assert_eq!(found.display_name.as_deref(), Some("Phone"));
    }

    async fn an_invalid_device_id_is_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        for id in ["", "a\0b", "a\nb", &"x".repeat(256)] {
            let answer = log_in_from(&node.accounts, &alice, device(id)).await;
            assert!(matches!(answer, Err(LoginError::InvalidDeviceId)), "{id:?}: {answer:?}");
        }
    }

    async fn logging_in_a_device_again_ends_the_tokens_it_had(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let refreshable = NewDevice { refreshable: true, ..device("PHONE") };
        let first = log_in_from(&node.accounts, &alice, refreshable).await.unwrap();
        let other = log_in(&node.accounts, &alice).await;
        assert_eq!(taken(&node.accounts, &first.tokens.access_token).await, Taken::Good);
        let second = log_in_from(&node.accounts, &alice, device("PHONE")).await.unwrap();
        assert_eq!(taken(&node.accounts, &first.tokens.access_token).await, Taken::Unknown);
        assert_eq!(taken(&node.accounts, &second.tokens.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Good);
        let refresh_token = first.tokens.refresh_token.unwrap();
        let answer = node.accounts.sessions.refresh(&refresh_token, None).await;
        assert!(
            matches!(answer, Err(RefreshError::UnknownToken { soft_logout: false })),
            "{answer:?}"
        );
        assert_eq!(node.accounts.devices.list(&alice).await.unwrap().len(), 2);
    }

    async fn two_users_can_have_devices_with_the_same_id(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let bob = user(&node.accounts, "bob").await;
        let first = log_in_from(&node.accounts, &alice, device("D")).await.unwrap();
        log_in_from(&node.accounts, &bob, device("D")).await.unwrap();
        assert_eq!(taken(&node.accounts, &first.tokens.access_token).await, Taken::Good);
    }

    async fn many_users_log_in_concurrently(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let logins = (0..20).map(|_| {
            let (accounts, alice) = (std::sync::Arc::clone(&node.accounts), alice.clone());
            tokio::spawn(async move { log_in(&accounts, &alice).await })
        });
        let logins: Vec<_> = logins.collect();
        for begun in logins {
            let token = begun.await.unwrap().tokens.access_token;
            assert_eq!(taken(&node.accounts, &token).await, Taken::Good);
        }
        assert_eq!(node.accounts.devices.list(&alice).await.unwrap().len(), 20);
    }

    async fn too_many_failed_logins_of_a_user_are_refused_for_a_while(db: TestDatabase) {
        let node = TestAccounts::start_with(db, limited()).await;
        user(&node.accounts, "alice").await;
        user(&node.accounts, "bob").await;
        for (name, address) in
            [("alice", "192.0.2.1"), ("@alice:test", "192.0.2.2"), ("ALICE", "192.0.2.3")]
        {
            let wrong = from_address(login(name, "wrong"), address);
            let answer = node.accounts.passwords.log_in(wrong).await;
            assert!(matches!(answer, Err(LoginError::Forbidden)), "{answer:?}");
        }
        // Even the right password is refused, from any address.
        node.clock.advance(Duration::from_secs(20));
        let right = || node.accounts.passwords.log_in(login("alice", PASSWORD));
        match right().await {
            Err(LoginError::TooManyAttempts { retry_after }) => {
                let seconds = retry_after.as_secs();
                assert!((39..=41).contains(&seconds), "{seconds}");
            }
            answer => panic!("{answer:?}"),
        }
        node.accounts.passwords.log_in(login("bob", PASSWORD)).await.unwrap();
        node.clock.advance(Duration::from_secs(41));
        right().await.unwrap();
    }

    async fn a_successful_login_resets_the_failed_ones(db: TestDatabase) {
        let node = TestAccounts::start_with(db, limited()).await;
        user(&node.accounts, "alice").await;
        for _ in 0..4 {
            for _ in 0..2 {
                let answer = node.accounts.passwords.log_in(login("alice", "wrong")).await;
                assert!(matches!(answer, Err(LoginError::Forbidden)), "{answer:?}");
            }
            node.accounts.passwords.log_in(login("alice", PASSWORD)).await.unwrap();
        }
    }

    async fn too_many_failed_logins_from_an_address_are_refused_for_a_while(db: TestDatabase) {
        let node = TestAccounts::start_with(db, limited()).await;
        user(&node.accounts, "alice").await;
        let from = |name, password, address| {
            let login: PasswordLogin<'_> = from_address(login(name, password), address);
            node.accounts.passwords.log_in(login)
        };
        // Successful logins do not count.
        for _ in 0..10 {
            from("alice", PASSWORD, "192.0.2.1").await.unwrap();
        }
        for name in ["a", "b", "c", "d", "e"] {
            let answer = from(name, "wrong", "192.0.2.1").await;
            assert!(matches!(answer, Err(LoginError::Forbidden)), "{answer:?}");
        }
        // An attempt refused because of its address does not count against the user.
        for _ in 0..10 {
            let answer = from("alice", PASSWORD, "192.0.2.1").await;
            assert!(matches!(answer, Err(LoginError::TooManyAttempts { .. })), "{answer:?}");
        }
        from("alice", PASSWORD, "192.0.2.2").await.unwrap();
        node.clock.advance(Duration::from_secs(61));
        from("alice", PASSWORD, "192.0.2.1").await.unwrap();
    }

    async fn concurrent_attempts_do_not_get_around_the_limit(db: TestDatabase) {
        let node = TestAccounts::start_with(db, limited()).await;
        user(&node.accounts, "alice").await;
        let tries: Vec<_> = (0..20)
            .map(|_| {
                let accounts = std::sync::Arc::clone(&node.accounts);
                tokio::spawn(async move {
                    accounts.passwords.log_in(login("alice", "wrong")).await
                })
            })
            .collect();
        let mut looked_at = 0;
        for answer in tries {
            match answer.await.unwrap() {
                Err(LoginError::Forbidden) => looked_at += 1,
                Err(LoginError::TooManyAttempts { .. }) => {}
                answer => panic!("{answer:?}"),
            }
        }
        assert_eq!(looked_at, 3);
    }

    async fn what_has_expired_is_pruned(db: TestDatabase) {
        let node = TestAccounts::start_with(db, limited()).await;
        user(&node.accounts, "alice").await;
        let _ = node.accounts.passwords.log_in(login("alice", "wrong")).await;
        let count = async || {
            // Never committed.
            let mut conn = node.node.store.write().await.unwrap();
            stoa_storage::repo::attempts::prune(&mut conn, i64::MAX).await.unwrap()
        };
        node.accounts.prune_expired().await.unwrap();
        assert_eq!(count().await, 1);
        node.clock.advance(Duration::from_secs(61));
        node.accounts.prune_expired().await.unwrap();
        assert_eq!(count().await, 0);
    }
}
