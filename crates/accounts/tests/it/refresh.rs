use std::time::Duration;

use stoa_accounts::{Accounts, NewDevice, NewTokens, RefreshError};
use stoa_storage::log::{Append, AppendError};
use stoa_testing::{Backend, TestAccounts, both_databases, surgery};

use crate::fixture::{Taken, device, log_in, log_in_from, refreshable, taken, user};

const LIFETIME: Duration = Duration::from_hours(1);

/// Refreshes `tokens`.
async fn refresh(accounts: &Accounts, tokens: &NewTokens) -> Result<NewTokens, RefreshError> {
    accounts.sessions.refresh(tokens.refresh_token.as_deref().unwrap(), None).await
}

/// The result of using a refresh token.
async fn refreshed(accounts: &Accounts, tokens: &NewTokens) -> Taken {
    match refresh(accounts, tokens).await {
        Ok(_) => Taken::Good,
        Err(RefreshError::UnknownToken { soft_logout: false }) => Taken::Unknown,
        Err(RefreshError::UnknownToken { soft_logout: true }) => Taken::SoftLogout,
        Err(error) => panic!("{error}"),
    }
}

both_databases! {
    async fn a_refreshable_token_expires(db: TestDatabase) {
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
        assert!(node.accounts.sessions.cached(&first.access_token).is_none());
        assert_eq!(taken(&node.accounts, &plain.tokens.access_token).await, Taken::Good);

        let second = refresh(&node.accounts, &first).await.unwrap();
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(second.expires_in, Some(LIFETIME));
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::SoftLogout);
    }

    async fn the_device_and_user_stay_the_same(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let second = refresh(&node.accounts, &first.tokens).await.unwrap();
        let session = node.accounts.sessions.find(&second.access_token).await.unwrap();
        assert_eq!((&session.user_id, &session.device_id), (&alice, &first.device_id));
        assert_eq!(node.accounts.devices.list(&alice).await.unwrap().len(), 1);
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
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::SoftLogout);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert!(node.accounts.sessions.cached(&second.access_token).is_some());
        assert_eq!(refreshed(&node.accounts, &first).await, Taken::SoftLogout);
    }

    async fn the_old_tokens_end_when_the_new_refresh_token_is_used(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        let second = refresh(&node.accounts, &first).await.unwrap();
        let third = refresh(&node.accounts, &second).await.unwrap();
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::SoftLogout);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &third.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::SoftLogout);
        assert_eq!(refreshed(&node.accounts, &first).await, Taken::SoftLogout);
    }

    async fn a_client_that_missed_the_answer_can_refresh_again(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        let mut unheard = Vec::new();
        for _ in 0..5 {
            unheard.push(refresh(&node.accounts, &first).await.unwrap());
        }
        let heard = refresh(&node.accounts, &first).await.unwrap();
        for tokens in &unheard {
            assert_eq!(taken(&node.accounts, &tokens.access_token).await, Taken::SoftLogout);
            assert_eq!(refreshed(&node.accounts, tokens).await, Taken::SoftLogout);
        }
        assert_eq!(taken(&node.accounts, &first.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &heard.access_token).await, Taken::Good);
        // The rows of the unheard tokens are gone.
        assert_eq!(surgery::token_hashes(&node.node.store).await.len(), 1);
    }

    async fn a_long_chain_of_refreshes_leaves_one_row(db: TestDatabase) {
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
        assert_eq!(surgery::token_hashes(&node.node.store).await.len(), 1);
    }

    async fn concurrent_first_uses_of_a_token_all_succeed(db: TestDatabase) {
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

    // Two programs share one login: at most one of them stays logged in, and neither does if the
    // old token is presented after the new one was used.
    async fn concurrent_use_and_refresh_leave_at_most_one_valid_token(db: TestDatabase) {
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
                // Tokens that are given out are valid.
                Ok(third) => {
                    let third = taken(&node.accounts, &third.access_token).await;
                    assert_eq!(third, Taken::Good, "round {round}");
                    let second = taken(&node.accounts, &second.access_token).await;
                    assert_eq!(second, Taken::SoftLogout, "round {round}: {used:?}");
                    third
                }
                Err(RefreshError::UnknownToken { soft_logout }) => {
                    assert!(soft_logout, "round {round}: {used:?}");
                    Taken::SoftLogout
                }
                Err(error) => panic!("round {round}: {error}"),
            };
            let second = taken(&node.accounts, &second.access_token).await;
            let good = [&second, &third].into_iter().filter(|taken| **taken == Taken::Good);
            assert!(good.count() <= 1, "round {round}: {used:?} {second:?} {third:?}");
        }
    }

    async fn a_token_replaced_on_another_node_is_refused_here(db: TestDatabase) {
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
        assert_eq!(taken(&here.accounts, &first.access_token).await, Taken::SoftLogout);
    }

    // https://www.rfc-editor.org/rfc/rfc9700.html#section-4.14.2
    async fn reusing_a_refresh_token_ends_the_session_but_keeps_the_device(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let other = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let generations: usize = 3;
        for copied in 0..generations {
            let begun = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
            let mut chain = vec![begun.tokens.clone()];
            for _ in 0..generations {
                chain.push(refresh(&node.accounts, chain.last().unwrap()).await.unwrap());
            }
            let last = chain.last().unwrap().clone();
            let session = node.accounts.sessions.find(&last.access_token).await.unwrap();
            let key = session.device_key();
            for _ in 0..2 {
                assert_eq!(refreshed(&node.accounts, &chain[copied]).await, Taken::SoftLogout);
            }
            for tokens in &chain {
                let access = taken(&node.accounts, &tokens.access_token).await;
                assert_eq!(access, Taken::SoftLogout);
                assert_eq!(refreshed(&node.accounts, tokens).await, Taken::SoftLogout);
            }
            assert!(node.accounts.sessions.cached(&last.access_token).is_none());
            // An append begun earlier is refused.
            let mut append = Append::new();
            append.guards.push(session.guard());
            let answer = node.node.writer.append(append).await;
            assert!(matches!(answer, Err(AppendError::SessionEnded)), "{answer:?}");
            // The client logs in again as the same device, and the earlier tokens are unknown.
            let again = NewDevice { device_id: Some(&begun.device_id), ..refreshable() };
            let again = log_in_from(&node.accounts, &alice, again).await.unwrap().tokens;
            let again = node.accounts.sessions.find(&again.access_token).await.unwrap();
            assert_eq!(again.device_key(), key, "it is the same device");
            assert_eq!(taken(&node.accounts, &last.access_token).await, Taken::Unknown);
            assert_eq!(refreshed(&node.accounts, &chain[copied]).await, Taken::Unknown);
        }
        assert_eq!(taken(&node.accounts, &other.tokens.access_token).await, Taken::Good);
    }

    async fn a_copied_token_does_not_end_a_later_login_on_the_device(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let phone = || NewDevice { refreshable: true, ..device("PHONE") };
        let first = log_in_from(&node.accounts, &alice, phone()).await.unwrap().tokens;
        let second = refresh(&node.accounts, &first).await.unwrap();
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        let again = log_in_from(&node.accounts, &alice, phone()).await.unwrap().tokens;
        assert_eq!(refreshed(&node.accounts, &first).await, Taken::Unknown);
        assert_eq!(taken(&node.accounts, &again.access_token).await, Taken::Good);
        assert_eq!(node.accounts.devices.list(&alice).await.unwrap().len(), 1);
    }

    async fn an_append_begun_with_the_old_token_is_not_refused(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let session = node.accounts.sessions.find(&begun.tokens.access_token).await.unwrap();
        let guarded = || {
            let mut append = Append::new();
            append.guards.push(session.guard());
            append
        };
        let second = refresh(&node.accounts, &begun.tokens).await.unwrap();
        assert_eq!(taken(&node.accounts, &second.access_token).await, Taken::Good);
        assert_eq!(taken(&node.accounts, &begun.tokens.access_token).await, Taken::SoftLogout);
        node.node.writer.append(guarded()).await.unwrap();
        node.accounts.sessions.log_out(&session.actor(None)).await.unwrap();
        let answer = node.node.writer.append(guarded()).await;
        assert!(matches!(answer, Err(AppendError::SessionEnded)), "{answer:?}");
    }

    async fn refreshing_does_not_extend_a_session(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let half = LIFETIME / 2;
        let ends_ms = node.node.clock.now_ms() + i64::try_from(half.as_millis()).unwrap();
        surgery::end_sessions_at(&node.node.store, ends_ms).await;
        let tokens = refresh(&node.accounts, &begun.tokens).await.unwrap();
        assert_eq!(taken(&node.accounts, &tokens.access_token).await, Taken::Good);
        node.clock.advance(half);
        assert_eq!(taken(&node.accounts, &tokens.access_token).await, Taken::Unknown);
        assert_eq!(refreshed(&node.accounts, &tokens).await, Taken::Unknown);
    }

    async fn access_and_refresh_tokens_are_not_interchangeable(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let tokens = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap().tokens;
        let refused = async |token: &str| match node.accounts.sessions.refresh(token, None).await {
            Err(RefreshError::UnknownToken { soft_logout }) => soft_logout,
            answer => panic!("{token}: {answer:?}"),
        };
        for token in ["", "\0", "stoa_refresh_x", "stoa_refresh_x.y", "stoa_refresh_\0.y"] {
            assert!(!refused(token).await, "{token}");
        }
        // It names its session, so the client is told that the device still exists.
        assert!(refused(&tokens.access_token).await);
        let refresh_token = tokens.refresh_token.unwrap();
        assert_eq!(taken(&node.accounts, &refresh_token).await, Taken::SoftLogout);
    }
}
