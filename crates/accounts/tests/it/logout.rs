use stoa_accounts::{NewDevice, RefreshError};
use stoa_base::Pos;
use stoa_storage::{log::DeviceChangeKind, repo::device_changes};
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{Taken, actor, device, log_in, log_in_from, refreshable, taken, user};

both_databases! {
    async fn logging_out_removes_only_this_device(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let stays = log_in(&node.accounts, &alice).await;
        let goes = log_in(&node.accounts, &alice).await;
        assert_eq!(node.accounts.devices.list(&alice).await.unwrap().len(), 2);
        let goes_actor = actor(&node.accounts, &goes).await;
        node.accounts.sessions.log_out(&goes_actor).await.unwrap();
        assert_eq!(taken(&node.accounts, &goes.tokens.access_token).await, Taken::Unknown);
        assert_eq!(taken(&node.accounts, &stays.tokens.access_token).await, Taken::Good);
        let left = node.accounts.devices.list(&alice).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].device_id, stays.device_id);
        // Logging out again changes nothing.
        node.accounts.sessions.log_out(&goes_actor).await.unwrap();
    }

    async fn logging_out_ends_the_refresh_token(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in_from(&node.accounts, &alice, refreshable()).await.unwrap();
        let refresh_token = begun.tokens.refresh_token.clone().unwrap();
        let unused = node.accounts.sessions.refresh(&refresh_token, None).await.unwrap();
        let begun_actor = actor(&node.accounts, &begun).await;
        node.accounts.sessions.log_out(&begun_actor).await.unwrap();
        for token in [refresh_token, unused.refresh_token.unwrap()] {
            let answer = node.accounts.sessions.refresh(&token, None).await;
            let is_unknown =
                matches!(answer, Err(RefreshError::UnknownToken { soft_logout: false }));
            assert!(is_unknown, "{answer:?}");
        }
        assert_eq!(taken(&node.accounts, &unused.access_token).await, Taken::Unknown);
    }

    async fn logging_out_everywhere_ends_every_session_of_the_user(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let bob = user(&node.accounts, "bob").await;
        let mut sessions = Vec::new();
        for id in ["A", "B", "C"] {
            let refreshable = NewDevice { refreshable: true, ..device(id) };
            sessions.push(log_in_from(&node.accounts, &alice, refreshable).await.unwrap());
        }
        let bobs = log_in_from(&node.accounts, &bob, device("A")).await.unwrap();
        let alice_actor = actor(&node.accounts, &sessions[0]).await;
        assert_eq!(taken(&node.accounts, &sessions[1].tokens.access_token).await, Taken::Good);
        node.accounts.sessions.log_out_all(&alice_actor).await.unwrap();
        for begun in &sessions {
            assert_eq!(taken(&node.accounts, &begun.tokens.access_token).await, Taken::Unknown);
        }
        assert!(node.accounts.devices.list(&alice).await.unwrap().is_empty());
        assert_eq!(taken(&node.accounts, &bobs.tokens.access_token).await, Taken::Good);
        let again = log_in(&node.accounts, &alice).await;
        assert_eq!(taken(&node.accounts, &again.tokens.access_token).await, Taken::Good);
    }

    async fn removed_devices_are_announced(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let first = log_in_from(&node.accounts, &alice, device("A")).await.unwrap();
        log_in_from(&node.accounts, &alice, device("B")).await.unwrap();
        let actor = actor(&node.accounts, &first).await;
        node.accounts.sessions.log_out_all(&actor).await.unwrap();
        let mut conn = node.node.store.read().await.unwrap();
        let (first, last) = (Pos::START, Pos(i64::MAX));
        let changes = device_changes::changed(&mut conn, [alice.as_str()], first, last, 99).await;
        let removed: Vec<_> = changes
            .unwrap()
            .into_iter()
            .filter(|change| change.kind == Some(DeviceChangeKind::Removed))
            .map(|change| change.device_id)
            .collect();
        assert_eq!(removed, ["A", "B"]);
    }
}
