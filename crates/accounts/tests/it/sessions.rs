use std::time::Duration;

use stoa_base::Actor;
use stoa_storage::log::{Append, AppendError};
use stoa_testing::{Backend, TestAccounts, both_databases, surgery};

use crate::fixture::{Taken, actor, log_in, taken, user};

both_databases! {
    async fn a_token_leads_to_its_user_and_device(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in(&node.accounts, &alice).await;
        for round in ["from the database", "from memory"] {
            let session = node.accounts.sessions.find(&begun.tokens.access_token).await.unwrap();
            assert_eq!(session.user_id, alice, "{round}");
            assert_eq!(session.device_id, begun.device_id, "{round}");
            assert_eq!(session.expires_ms, None, "{round}");
            assert!(!session.is_admin, "{round}");
        }
    }

    async fn an_invalid_token_is_unknown(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        for token in ["", "stoa_access_x", "\0", &"x".repeat(10_000)] {
            assert_eq!(taken(&node.accounts, token).await, Taken::Unknown, "{token:?}");
        }
    }

    async fn the_database_holds_no_token(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in(&node.accounts, &alice).await;
        let [hash] = surgery::token_hashes(&node.node.store).await.try_into().unwrap();
        assert!(!begun.tokens.access_token.contains(&hash));
        assert_eq!(taken(&node.accounts, &hash).await, Taken::Unknown);
    }

    async fn only_a_session_that_was_used_is_cached(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let token = log_in(&node.accounts, &alice).await.tokens.access_token;
        assert!(node.accounts.sessions.cached(&token).is_none());
        node.accounts.sessions.find(&token).await.unwrap();
        assert_eq!(node.accounts.sessions.cached(&token).unwrap().user_id, alice);
        assert!(node.accounts.sessions.cached("another").is_none());
    }

    async fn an_append_is_refused_once_the_session_ended_on_another_node(db: TestDatabase) {
        if db.backend() == Backend::Sqlite {
            // With SQLite there is only one node.
            return;
        }
        let here = TestAccounts::start(db).await;
        let there = here.another(db, TestAccounts::options()).await;
        let alice = user(&here.accounts, "alice").await;
        for round in 0..20 {
            let begun = log_in(&here.accounts, &alice).await;
            let token = &begun.tokens.access_token;
            assert_eq!(taken(&here.accounts, token).await, Taken::Good, "round {round}");
            let there_actor = actor(&there.accounts, &begun).await;
            let cached = here.accounts.sessions.cached(token).unwrap();

            there.accounts.sessions.log_out(&there_actor).await.unwrap();
            // The append is refused under the log lock and the read looks at the log first, even
            // if this node has not applied the logout yet.
            let mut append = Append::new();
            append.guards.push(cached.guard());
            let answer = here.node.writer.append(append).await;
            assert!(matches!(answer, Err(AppendError::SessionEnded)), "round {round}: {answer:?}");
            assert_eq!(taken(&here.accounts, token).await, Taken::Unknown, "round {round}");
        }
    }

    async fn a_read_is_refused_once_the_session_ended_on_another_node(db: TestDatabase) {
        if db.backend() == Backend::Sqlite {
            return;
        }
        let here = TestAccounts::start(db).await;
        let there = here.another(db, TestAccounts::options()).await;
        let alice = user(&here.accounts, "alice").await;
        for round in 0..20 {
            let begun = log_in(&here.accounts, &alice).await;
            let token = &begun.tokens.access_token;
            assert_eq!(taken(&here.accounts, token).await, Taken::Good, "round {round}");
            let there_actor = actor(&there.accounts, &begun).await;
            there.accounts.sessions.log_out(&there_actor).await.unwrap();
            assert_eq!(taken(&here.accounts, token).await, Taken::Unknown, "round {round}");
        }
    }

    async fn a_session_that_ends_during_a_read_is_not_cached(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        for round in 0..30 {
            let begun = log_in(&node.accounts, &alice).await;
            let token = begun.tokens.access_token.clone();
            let reader = {
                let accounts = std::sync::Arc::clone(&node.accounts);
                let token = token.clone();
                tokio::spawn(async move {
                    while accounts.sessions.find(&token).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                })
            };
            let device = Actor {
                device_id: Some(begun.device_id.clone()),
                ..Actor::user(&alice)
            };
            node.accounts.sessions.log_out(&device).await.unwrap();
            assert_eq!(taken(&node.accounts, &token).await, Taken::Unknown, "round {round}");
            assert!(node.accounts.sessions.cached(&token).is_none(), "round {round}");
            tokio::time::timeout(Duration::from_secs(10), reader).await.unwrap().unwrap();
        }
    }
}
