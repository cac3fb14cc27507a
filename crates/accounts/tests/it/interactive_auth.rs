use std::time::Duration;

use ruma::{
    UserId,
    api::client::uiaa::{AuthData, AuthType, Dummy, MatrixUserIdentifier, Password, UiaaInfo},
    user_id,
};
use stoa_accounts::{
    Accounts, AttemptLimits, InteractiveAnswer, InteractiveAuthError, InteractiveRequest, Options,
    Stage,
};
use stoa_testing::{Backend, TestAccounts, both_databases};

use crate::fixture::{PASSWORD, user};

const PASSWORD_ONLY: &[&[Stage]] = &[&[Stage::Password]];
const BOTH: &[&[Stage]] = &[&[Stage::Password, Stage::Dummy]];
const EITHER: &[&[Stage]] = &[&[Stage::Password], &[Stage::Dummy]];

pub(crate) fn dummy(session: Option<&str>) -> AuthData {
    let mut data = Dummy::new();
    data.session = session.map(ToOwned::to_owned);
    AuthData::Dummy(data)
}

fn password(user: &str, password: &str, session: Option<&str>) -> AuthData {
    let identifier = MatrixUserIdentifier::new(user.to_owned());
    let mut data = Password::new(identifier.into(), password.to_owned());
    data.session = session.map(ToOwned::to_owned);
    AuthData::Password(data)
}

/// Makes one request. Returns `None` if authentication has passed, otherwise the challenge.
async fn ask(
    accounts: &Accounts,
    user: &UserId,
    body: &str,
    flows: &[&[Stage]],
    auth: Option<&AuthData>,
) -> Result<Option<UiaaInfo>, InteractiveAuthError> {
    let request = InteractiveRequest {
        operation: "test",
        user: Some(user),
        body: &body,
        flows,
        auth,
        address: None,
    };
    Ok(match accounts.interactive_auth.authenticate(&request).await? {
        InteractiveAnswer::Passed(_) => None,
        InteractiveAnswer::Challenge(info) => Some(info),
    })
}

async fn stored(node: &TestAccounts) -> u64 {
    // Never committed.
    let mut conn = node.node.store.write().await.unwrap();
    stoa_storage::repo::interactive_auth::prune(&mut conn, i64::MAX).await.unwrap()
}

both_databases! {
    async fn a_request_without_auth_gets_the_flows(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let info = ask(&node.accounts, &alice, "x", EITHER, None).await.unwrap().unwrap();
        let stages: Vec<_> = info.flows.iter().map(|flow| flow.stages.clone()).collect();
        assert_eq!(stages, [vec![AuthType::Password], vec![AuthType::Dummy]]);
        assert!(info.completed.is_empty());
        assert!(info.auth_error.is_none());
        assert!(info.session.unwrap().len() > 40);
    }

    async fn one_flow_is_enough_with_or_without_a_session(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let accounts = &node.accounts;
        assert!(ask(accounts, &alice, "x", EITHER, Some(&dummy(None))).await.unwrap().is_none());
        let right = password("alice", PASSWORD, None);
        assert!(ask(accounts, &alice, "x", EITHER, Some(&right)).await.unwrap().is_none());

        let info = ask(accounts, &alice, "x", EITHER, None).await.unwrap().unwrap();
        let right = password("@alice:test", PASSWORD, info.session.as_deref());
        for _ in 0..2 {
            assert!(ask(accounts, &alice, "x", EITHER, Some(&right)).await.unwrap().is_none());
        }
    }

    async fn a_wrong_or_another_users_password_does_not_pass(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        user(&node.accounts, "bob").await;
        let info = ask(&node.accounts, &alice, "x", PASSWORD_ONLY, None).await.unwrap().unwrap();
        let session = info.session.unwrap();
        for auth in [
            password("alice", "wrong", Some(&session)),
            password("bob", PASSWORD, Some(&session)),
            password("nobody", PASSWORD, Some(&session)),
            dummy(Some(&session)),
        ] {
            let info = ask(&node.accounts, &alice, "x", PASSWORD_ONLY, Some(&auth)).await;
            let info = info.unwrap().unwrap();
            assert_eq!(info.session.as_ref(), Some(&session));
            assert_eq!(info.auth_error.unwrap().kind.errcode().as_str(), "M_FORBIDDEN");
            assert!(info.completed.is_empty());
        }
        let right = password("alice", PASSWORD, Some(&session));
        let passed = ask(&node.accounts, &alice, "x", PASSWORD_ONLY, Some(&right)).await;
        assert!(passed.unwrap().is_none());
    }

    async fn stages_can_be_completed_on_different_nodes(db: TestDatabase) {
        let here = TestAccounts::start(db).await;
        let there = match db.backend() {
            Backend::Sqlite => here.clone(),
            Backend::Postgres => here.another(db, TestAccounts::options()).await,
        };
        let alice = user(&here.accounts, "alice").await;
        let first = dummy(None);
        let info = ask(&here.accounts, &alice, "x", BOTH, Some(&first)).await.unwrap().unwrap();
        assert_eq!(info.completed, [AuthType::Dummy]);
        let session = info.session.unwrap();
        let acknowledged = AuthData::fallback_acknowledgement(session.clone());
        let info = ask(&there.accounts, &alice, "x", BOTH, Some(&acknowledged)).await;
        assert_eq!(info.unwrap().unwrap().completed, [AuthType::Dummy]);
        let second = password("alice", PASSWORD, Some(&session));
        let passed = ask(&there.accounts, &alice, "x", BOTH, Some(&second)).await;
        assert!(passed.unwrap().is_none());
        // With all stages completed, the session alone is enough.
        let passed = ask(&here.accounts, &alice, "x", BOTH, Some(&acknowledged)).await;
        assert!(passed.unwrap().is_none());
    }

    async fn a_session_is_for_one_user_operation_and_request(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let accounts = &node.accounts;
        let alice = user(accounts, "alice").await;
        // Until a stage is completed, the client may still be asking for the stages.
        let info = ask(accounts, &alice, "", BOTH, None).await.unwrap().unwrap();
        let session = info.session.unwrap();
        let auth = dummy(Some(&session));
        assert!(ask(accounts, &alice, "delete A", BOTH, Some(&auth)).await.unwrap().is_some());

        let changed = |answer: Result<_, InteractiveAuthError>| {
            matches!(answer, Err(InteractiveAuthError::RequestChanged))
        };
        let auth = password("alice", PASSWORD, Some(&session));
        assert!(changed(ask(accounts, &alice, "delete B", BOTH, Some(&auth)).await));
        let bob = user_id!("@bob:test");
        assert!(changed(ask(accounts, bob, "delete A", BOTH, Some(&auth)).await));
        let other = InteractiveRequest {
            operation: "another",
            user: Some(&alice),
            body: &"delete A",
            flows: BOTH,
            auth: Some(&auth),
            address: None,
        };
        assert!(changed(accounts.interactive_auth.authenticate(&other).await.map(|_| None)));
        assert!(ask(accounts, &alice, "delete A", BOTH, Some(&auth)).await.unwrap().is_none());
    }

    async fn an_unknown_or_expired_session_is_replaced(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let info = ask(&node.accounts, &alice, "x", EITHER, None).await.unwrap().unwrap();
        let old = info.session.unwrap();
        node.clock.advance(Duration::from_secs(60 * 60 + 1));
        for id in [old.as_str(), "unknown", "", "\0"] {
            let auth = dummy(Some(id));
            let info = ask(&node.accounts, &alice, "x", EITHER, Some(&auth)).await.unwrap();
            let info = info.unwrap();
            assert_ne!(info.session.as_deref(), Some(id));
            assert!(info.completed.is_empty());
            let auth = dummy(info.session.as_deref());
            let passed = ask(&node.accounts, &alice, "x", EITHER, Some(&auth)).await.unwrap();
            assert!(passed.is_none());
        }
        assert_eq!(stored(&node).await, 4, "those that have passed");
        node.accounts.prune_expired().await.unwrap();
        assert_eq!(stored(&node).await, 4);
        node.clock.advance(Duration::from_secs(60 * 60 + 1));
        node.accounts.prune_expired().await.unwrap();
        assert_eq!(stored(&node).await, 0);
    }

    async fn asking_for_the_flows_stores_nothing(db: TestDatabase) {
        let here = TestAccounts::start(db).await;
        let there = match db.backend() {
            Backend::Sqlite => here.clone(),
            Backend::Postgres => here.another(db, TestAccounts::options()).await,
        };
        let alice = user(&here.accounts, "alice").await;
        let mut sessions = Vec::new();
        for _ in 0..120 {
            let info = ask(&here.accounts, &alice, "x", BOTH, None).await.unwrap().unwrap();
            sessions.push(info.session.unwrap());
        }
        assert_eq!(stored(&here).await, 0);
        // Any node recognizes these sessions, and they cannot be forged.
        let session = &sessions[0];
        let forged = format!("{session}x");
        for (session, is_known) in [(session, true), (&forged, false)] {
            let auth = AuthData::fallback_acknowledgement(session.clone());
            let info = ask(&there.accounts, &alice, "x", BOTH, Some(&auth)).await.unwrap().unwrap();
            assert_eq!(info.session.as_ref() == Some(session), is_known);
        }
        let bob = user_id!("@bob:test");
        let auth = dummy(Some(session));
        let info = ask(&there.accounts, bob, "x", BOTH, Some(&auth)).await.unwrap().unwrap();
        assert_ne!(info.session.as_ref(), Some(session), "it is of somebody else");
        // Sessions with a completed stage are stored, up to the limit per user.
        for session in &sessions {
            let auth = dummy(Some(session));
            ask(&here.accounts, &alice, "x", BOTH, Some(&auth)).await.unwrap().unwrap();
        }
        assert_eq!(stored(&here).await, 100);
        let auth = dummy(None);
        ask(&there.accounts, bob, "x", BOTH, Some(&auth)).await.unwrap().unwrap();
        assert_eq!(stored(&here).await, 101, "others are not concerned");
    }

    async fn interactive_auth_shares_the_limit_on_failed_logins(db: TestDatabase) {
        let limits = AttemptLimits { failed_logins_per_user: 2, ..AttemptLimits::default() };
        let options = Options { limits: Some(limits), ..TestAccounts::options() };
        let node = TestAccounts::start_with(db, options).await;
        let alice = user(&node.accounts, "alice").await;
        let wrong = password("alice", "wrong", None);
        for _ in 0..2 {
            ask(&node.accounts, &alice, "x", PASSWORD_ONLY, Some(&wrong)).await.unwrap();
        }
        let right = password("alice", PASSWORD, None);
        let answer = ask(&node.accounts, &alice, "x", PASSWORD_ONLY, Some(&right)).await;
        assert!(
            matches!(answer, Err(InteractiveAuthError::TooManyAttempts { .. })),
            "{answer:?}"
        );
    }
}
