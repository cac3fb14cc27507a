use std::time::Duration;

use ruma::api::client::uiaa::{AuthData, AuthType};
use stoa_accounts::{
    Accounts, AttemptLimits, InteractiveAuthError, NewDevice, Options, RegisterAnswer,
    RegisterError, RegisterRequest, Registered, UnfitPassword,
};
use stoa_testing::{Backend, TestAccounts, both_databases};

use crate::{
    fixture::{PASSWORD, Taken, device, log_in, login, taken},
    interactive_auth::dummy,
};

fn request<'a>(username: &'a str, auth: Option<&'a AuthData>) -> RegisterRequest<'a> {
    RegisterRequest {
        username: Some(username),
        password: Some(PASSWORD),
        device: NewDevice::default(),
        inhibit_login: false,
        auth,
        address: None,
    }
}

/// A request that must succeed.
async fn register(accounts: &Accounts, request: RegisterRequest<'_>) -> Registered {
    match accounts.registrar.register(request).await.unwrap() {
        RegisterAnswer::Registered(registered) => registered,
        RegisterAnswer::Challenge(info) => panic!("{info:?}"),
    }
}

/// The session ID in the challenge to a request without `auth`.
async fn begin(accounts: &Accounts, request: RegisterRequest<'_>) -> String {
    match accounts.registrar.register(RegisterRequest { auth: None, ..request }).await.unwrap() {
        RegisterAnswer::Challenge(info) => info.session.unwrap(),
        RegisterAnswer::Registered(registered) => panic!("{registered:?}"),
    }
}

both_databases! {
    async fn one_request_with_dummy_auth_is_enough(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let auth = dummy(None);
        let registered = register(&node.accounts, request("user-1", Some(&auth))).await;
        assert_eq!(registered.user_id, "@user-1:test");
        let session = registered.session.unwrap();
        assert!(!session.device_id.as_str().is_empty());
        assert_eq!(taken(&node.accounts, &session.tokens.access_token).await, Taken::Good);
        log_in(&node.accounts, &registered.user_id).await;
    }

    async fn an_empty_request_gets_the_flows(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let empty = RegisterRequest { username: None, password: None, ..request("", None) };
        match node.accounts.registrar.register(empty).await.unwrap() {
            RegisterAnswer::Challenge(info) => {
                assert_eq!(info.flows.len(), 1);
                assert_eq!(info.flows[0].stages, [AuthType::Dummy]);
                assert!(info.session.is_some());
            }
            RegisterAnswer::Registered(registered) => panic!("{registered:?}"),
        }
    }

    async fn registering_in_two_steps_works_and_the_first_may_be_empty(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let phone = NewDevice { display_name: Some("Phone"), ..device("PHONE") };
        for (username, password, first_is_empty) in
            [("a", "pässwörd ★", false), ("b", "bobspassword", true)]
        {
            let whole = RegisterRequest {
                password: Some(password), device: phone, ..request(username, None)
            };
            let empty = RegisterRequest { username: None, password: None, ..request("", None) };
            let first = if first_is_empty { empty } else { whole };
            let auth = dummy(Some(&begin(&node.accounts, first).await));
            let registered =
                register(&node.accounts, RegisterRequest { auth: Some(&auth), ..whole }).await;
            let session = registered.session.unwrap();
            assert_eq!(session.device_id, "PHONE");
            let found = node.accounts.devices.get(&registered.user_id, &session.device_id).await;
            assert_eq!(found.unwrap().unwrap().display_name.as_deref(), Some("Phone"));
            node.accounts.passwords.log_in(login(username, password)).await.unwrap();
        }
    }

    async fn repeating_the_session_gives_the_same_answer_on_any_node(db: TestDatabase) {
        let here = TestAccounts::start(db).await;
        let there = match db.backend() {
            Backend::Sqlite => here.clone(),
            Backend::Postgres => here.another(db, TestAccounts::options()).await,
        };
        let refreshable = NewDevice { refreshable: true, ..NewDevice::default() };
        // The user name is the same even if the server generated it.
        for username in [Some("alice"), None] {
            let request = RegisterRequest { username, device: refreshable, ..request("", None) };
            let session = begin(&here.accounts, request).await;
            let auth = dummy(Some(&session));
            let request = RegisterRequest { auth: Some(&auth), ..request };
            let first = register(&here.accounts, request).await;
            let second = register(&there.accounts, request).await;
            assert_eq!(first.user_id, second.user_id);
            let (first, second) = (first.session.unwrap(), second.session.unwrap());
            assert_eq!(first.device_id, second.device_id);
            assert_eq!(first.tokens.access_token, second.tokens.access_token);
            assert_eq!(first.tokens.refresh_token, second.tokens.refresh_token);
            assert_eq!(first.tokens.expires_in, second.tokens.expires_in);
            let token = &first.tokens.access_token;
            assert_eq!(taken(&here.accounts, token).await, Taken::Good);

            let other = RegisterRequest { password: Some("another"), ..request };
            let answer = here.accounts.registrar.register(other).await;
            assert!(
                matches!(
                    answer,
                    Err(RegisterError::Auth(InteractiveAuthError::RequestChanged))
                ),
                "{answer:?}"
            );
        }
    }

    async fn two_identical_concurrent_requests_create_one_account(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        for round in 0..10 {
            let username = format!("user{round}");
            let session = begin(&node.accounts, request(&username, None)).await;
            let auth = dummy(Some(&session));
            let (one, other) = tokio::join!(
                register(&node.accounts, request(&username, Some(&auth))),
                register(&node.accounts, request(&username, Some(&auth))),
            );
            assert_eq!(one.user_id, other.user_id);
            let (one, other) = (one.session.unwrap(), other.session.unwrap());
            assert_eq!(one.tokens.access_token, other.tokens.access_token);
            assert_eq!(one.device_id, other.device_id);
        }
    }

    async fn two_sessions_get_different_tokens(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let request = RegisterRequest { username: None, ..request("", None) };
            let auth = dummy(Some(&begin(&node.accounts, request).await));
            let registered =
                register(&node.accounts, RegisterRequest { auth: Some(&auth), ..request }).await;
            tokens.push(registered.session.unwrap().tokens.access_token);
        }
        assert_ne!(tokens[0], tokens[1]);
    }

    async fn a_name_is_lowercased_or_generated(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let auth = dummy(None);
        let upper = register(&node.accounts, request("User-UPPER", Some(&auth))).await;
        assert_eq!(upper.user_id, "@user-upper:test");
        let nameless = RegisterRequest { username: None, ..request("", Some(&auth)) };
        let one = register(&node.accounts, nameless).await.user_id;
        let other = register(&node.accounts, nameless).await.user_id;
        assert_ne!(one, other);
        assert_eq!(one.localpart().len(), 12);
    }

    async fn a_name_that_is_not_allowed_or_taken_is_refused_at_once(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let auth = dummy(None);
        register(&node.accounts, request("taken", Some(&auth))).await;
        for auth in [None, Some(&auth)] {
            for name in ["user-!-reject-please", "user-é-x", "a\nb", "", "a\0b", "_a", "a,b"] {
                let answer = node.accounts.registrar.register(request(name, auth)).await;
                assert!(
                    matches!(answer, Err(RegisterError::InvalidUsername(_))),
                    "{name:?}: {answer:?}"
                );
            }
            for name in ["taken", "TAKEN"] {
                let other = RegisterRequest { password: Some("another"), ..request(name, auth) };
                let answer = node.accounts.registrar.register(other).await;
                assert!(matches!(answer, Err(RegisterError::UserInUse)), "{answer:?}");
            }
        }
    }

    async fn the_availability_of_a_name_can_be_checked(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        register(&node.accounts, request("taken", Some(&dummy(None)))).await;
        node.accounts.registrar.check_username("username_should_be_available").await.unwrap();
        let answer = node.accounts.registrar.check_username("Taken").await;
        assert!(matches!(answer, Err(RegisterError::UserInUse)), "{answer:?}");
        let answer = node.accounts.registrar.check_username("username,should_not_be_valid").await;
        assert!(matches!(answer, Err(RegisterError::InvalidUsername(_))), "{answer:?}");
    }

    async fn the_name_of_a_deactivated_account_stays_taken(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let gone = register(&node.accounts, request("gone", Some(&dummy(None)))).await.user_id;
        node.accounts.users.deactivate(&stoa_base::Actor::user(&gone), &gone).await.unwrap();
        let answer = node.accounts.registrar.check_username("gone").await;
        assert!(matches!(answer, Err(RegisterError::UserInUse)), "{answer:?}");
    }

    async fn inhibit_login_creates_no_session(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let quiet = RegisterRequest { inhibit_login: true, ..request("quiet", None) };
        let auth = dummy(Some(&begin(&node.accounts, quiet).await));
        for _ in 0..2 {
            let quiet = RegisterRequest { auth: Some(&auth), ..quiet };
            let registered = register(&node.accounts, quiet).await;
            assert!(registered.session.is_none());
            assert!(node.accounts.devices.list(&registered.user_id).await.unwrap().is_empty());
        }
    }

    async fn a_missing_or_too_long_password_is_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let auth = dummy(None);
        let none = RegisterRequest { password: None, ..request("alice", Some(&auth)) };
        let answer = node.accounts.registrar.register(none).await;
        assert!(matches!(answer, Err(RegisterError::MissingPassword)), "{answer:?}");
        let long = "x".repeat(1_025);
        let long = RegisterRequest { password: Some(&long), ..request("alice", Some(&auth)) };
        let answer = node.accounts.registrar.register(long).await;
        assert!(matches!(answer, Err(RegisterError::Password(UnfitPassword::TooLong))), "{answer:?}");
        let bad = RegisterRequest { device: device("a\0b"), ..request("alice", Some(&auth)) };
        let answer = node.accounts.registrar.register(bad).await;
        assert!(matches!(answer, Err(RegisterError::InvalidDeviceId)), "{answer:?}");
        register(&node.accounts, request("alice", Some(&auth))).await;
    }

    async fn registration_can_be_closed(db: TestDatabase) {
        let options = Options { registration_enabled: false, ..TestAccounts::options() };
        let node = TestAccounts::start_with(db, options).await;
        let answer = node.accounts.registrar.register(request("alice", Some(&dummy(None)))).await;
        assert!(matches!(answer, Err(RegisterError::Disabled)), "{answer:?}");
        let answer = node.accounts.registrar.check_username("alice").await;
        assert!(matches!(answer, Err(RegisterError::Disabled)), "{answer:?}");
    }

    async fn registrations_per_address_are_limited(db: TestDatabase) {
        let limits = AttemptLimits {
            window: Duration::from_mins(1),
            registrations_per_address: 2,
            ..AttemptLimits::default()
        };
        let options = Options { limits: Some(limits), ..TestAccounts::options() };
        let node = TestAccounts::start_with(db, options).await;
        let auth = dummy(None);
        let from = |username, address: &str| RegisterRequest {
            address: Some(address.parse().unwrap()),
            ..request(username, Some(&auth))
        };
        register(&node.accounts, from("a", "192.0.2.1")).await;
        register(&node.accounts, from("b", "192.0.2.1")).await;
        let answer = node.accounts.registrar.register(from("c", "192.0.2.1")).await;
        assert!(matches!(answer, Err(RegisterError::TooManyAttempts { .. })), "{answer:?}");
        register(&node.accounts, from("c", "192.0.2.2")).await;
        node.clock.advance(Duration::from_secs(61));
        register(&node.accounts, from("d", "192.0.2.1")).await;
    }
}
