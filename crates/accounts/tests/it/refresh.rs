use std::time::Duration;

use stoa_accounts::{Accounts, NewTokens, RefreshError};
use stoa_storage::repo;
use stoa_testing::{Backend, TestAccounts, both_databases};

use crate::fixture::{Taken, log_in, log_in_from, refreshable, taken, user};

const LIFETIME: Duration = Duration::from_hours(1);

/// New tokens for old ones.
async fn refresh(accounts: &Accounts, tokens: &NewTokens) -> Result<NewTokens, RefreshError> {
    accounts.refresh(tokens.refresh_token.as_deref().unwrap()).await
}

async fn is_refused(accounts: &Accounts, tokens: &NewTokens) -> bool {
    match refresh(accounts, tokens).await {
        Ok(_) => false,
        Err(RefreshError::UnknownToken) => true,
        Err(error) => panic!("{error}"),
    }
}

both_databases! {
    async fn a_token_that_can_be_refreshed_expires(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let plain = log_in(&node.accounts, &alice).await;
        let first = first.tokens;
        assert_eq!(first.expires_in, Some(LIFETIME));
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        node.clock.advance(Duration::from_millis(60 * 60 * 1_000 - 1));
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        node.clock.advance(Duration::from_millis(1));
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::SoftLogout);
        assert!(node.accounts.session_cached(&first.access_token).is_none());
        assert_eq!(taken(&node.accounts, &plain.tokens.access_token).await, Taken::Good);

        let second = refresh(&node.accounts, &first).await.unwrap();
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(second.expires_in, Some(LIFETIME));
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Unknown);
    }

    async fn the_device_and_user_stay_the_same(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let second = refresh(&node.accounts, &first.tokens).await.unwrap();
        let session = node.accounts.session(&second.access_token).await.unwrap();
        assert_eq!((&session.user_id, &session.device_id), (&alice, &first.device_id));
        assert_eq!(node.accounts.devices(&alice).await.unwrap().len(), 1);
    }

    // https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens: the old refresh
    // token remains valid until the new access token or refresh token is used.
    async fn the_old_tokens_end_when_the_new_access_token_is_used(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        let second = refresh(&node.accounts, &first).await.unwrap();
        assert_ne!(second.access_token, first.access_token);
        assert_ne!(second.refresh_token, first.refresh_token);
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Unknown);
        assert!(is_refused(&node.accounts, &first).await);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert!(node.accounts.session_cached(&second.access_token).is_some());
    }

    async fn the_old_tokens_end_when_the_new_refresh_token_is_used(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        let second = refresh(&node.accounts, &first).await.unwrap();
        let third = refresh(&node.accounts, &second).await.unwrap();
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Unknown);
        assert!(is_refused(&node.accounts, &first).await);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &third.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Unknown);
    }

    async fn who_did_not_hear_the_answer_may_ask_again(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let device_id = first.device_id;
        let first = first.tokens;
        let mut unheard = Vec::new();
        for _ in 0..5 {
            unheard.push(refresh(&node.accounts, &first).await.unwrap());
        }
        let heard = refresh(&node.accounts, &first).await.unwrap();
        for tokens in &unheard {
            assert_eq!(taken(&node.accounts, &tokens.access_token).await, Taken::Unknown);
            assert!(is_refused(&node.accounts, tokens).await);
        }
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &heard.access_token).await, Taken::Good);
        assert!(is_refused(&node.accounts, &first).await);
        // Nothing is left of what was not heard.
        let mut conn = node.node.store.read().await.unwrap();
        let left = repo::tokens::of_device(&mut conn, &alice, &device_id).await.unwrap();
        assert_eq!(left.len(), 1);
    }

    async fn a_long_chain_leaves_one_row(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let mut tokens = first.tokens;
        for round in 0..10 {
            tokens = refresh(&node.accounts, &tokens).await.unwrap();
            if round % 2 == 0 {
                assert_eq!(taken(&node.accounts, &tokens.access_token).await, Taken::Good);
            }
        }
        assert_eq!(taken(&node.accounts, &tokens.access_token).await, Taken::Good);
        let mut conn = node.node.store.read().await.unwrap();
        let left = repo::tokens::of_device(&mut conn, &alice, &first.device_id).await.unwrap();
        assert_eq!(left.len(), 1);
    }

    async fn first_uses_at_the_same_time_are_one(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let mut tokens =
            log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        for round in 0..10 {
            tokens = refresh(&node.accounts, &tokens).await.unwrap();
            let uses: Vec<_> = (0..10)
                .map(|_| {
                    let accounts = std::sync::Arc::clone(&node.accounts);
                    let token = tokens.access_token.clone();
                    tokio::spawn(async move { taken(&accounts, &token).await })
                })
                .collect();
            for used in uses {
                assert_eq!(used.await.unwrap(), Taken::Good, "round {round}");
            }
        }
    }

    // Two programs that share one login: at most one of them is left, and never none.
    async fn using_and_asking_again_at_the_same_time_leaves_one(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        for round in 0..20 {
            let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
            let second = refresh(&node.accounts, &first).await.unwrap();
            let (used, asked_again) = tokio::join!(
                taken(&node.accounts, &second.access_token),
                refresh(&node.accounts, &first),
            );
            let third = match asked_again {
                // Whoever gets tokens gets good ones.
                Ok(third) => {
                    let third = taken(&node.accounts, &third.access_token).await;
                    assert_eq!(third, Taken::Good, "round {round}");
                    third
                }
                Err(RefreshError::UnknownToken) => Taken::Unknown,
                Err(error) => panic!("round {round}: {error}"),
            };
            let second = taken(&node.accounts, &second.access_token).await;
            let good = [&second, &third].into_iter().filter(|taken| **taken == Taken::Good);
            assert_eq!(good.count(), 1, "round {round}: {used:?} {second:?} {third:?}");
        }
    }

    async fn what_ended_on_another_node_is_refused_here(db: TestDatabase) {
        if db.backend() == Backend::Sqlite {
            return;
        }
        let here = TestAccounts::start(db).await;
        let there = here.another(db, TestAccounts::options()).await;
        let alice = user(&here.accounts, "alice").await;
        let first = log_in_from(&here.accounts, &alice, refreshable()).await.unwrap().tokens;
        assert_eq!(taken(&here.accounts, &first.access_token).await, Taken::Good);
        let second = refresh(&there.accounts, &first).await.unwrap();
        assert_eq!(taken(&there.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(taken(&here.accounts, &first.access_token).await, Taken::Unknown);
    }

    // What is left of such a race: another token took the place of the one it came from.
    async fn a_token_whose_parent_is_gone_is_dead(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in(&node.accounts, &alice).await;
        let mut conn = node.node.store.write().await.unwrap();
        for (token_hash, parent_hash) in [("orphan", Some("gone")), ("child", Some("orphan"))] {
            let token = repo::tokens::NewTokenRow {
                token_hash,
                user_id: &alice,
                device_id: &begun.device_id,
                created_ms: 0,
                expires_ms: None,
                refresh_hash: Some(token_hash),
                parent_hash,
            };
            repo::tokens::insert(&mut conn, &token).await.unwrap();
        }
        for (hash, is_there) in [("orphan", false), ("child", true)] {
            let by_access = repo::tokens::by_access_hash(&mut conn, hash).await.unwrap();
            assert_eq!(by_access.is_some(), is_there, "{hash}");
            let by_refresh = repo::tokens::by_refresh_hash(&mut conn, hash).await.unwrap();
            assert_eq!(by_refresh.is_some(), is_there, "{hash}");
        }
    }

    async fn an_access_token_is_no_refresh_token(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let tokens = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        for token in [tokens.access_token.as_str(), "", "\0", "stoa_refresh_x"] {
            let answer = node.accounts.refresh(token).await;
            assert!(matches!(answer, Err(RefreshError::UnknownToken)), "{answer:?}");
        }
        let refresh_token = tokens.refresh_token.unwrap();
        assert_eq!(taken(&node.accounts, &refresh_token).await, Taken::Unknown);
    }
}
