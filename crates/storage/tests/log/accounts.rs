//! Accounts, devices, sessions and tokens: how appends change them.

use stoa_storage::{
    Store,
    log::{
        AccountState, AccountUpdateRow, AllDeviceRemovalsRow, Append, AppendError, Guard,
        NewDeviceRow, NewUserRow, SessionOrigin, SessionRow, TokenRemovalRow, TokenRow,
    },
    repo::tokens,
};
use stoa_testing::{TestNode, both_databases};

use crate::{together, write};

const ALICE: &str = "@alice:test";

fn account(password: &str) -> Append {
    let mut append = Append::new();
    append.guards.push(Guard::Account(ALICE.to_owned(), AccountState::Absent));
    append.users.push(NewUserRow {
        user_id: ALICE.to_owned(),
        password_hash: Some(password.to_owned()),
        admin: 0,
        created_ms: 1,
    });
    append
}

/// A session on a device with one token. All names begin with `name`.
fn login(name: &str, device: &str, state: AccountState) -> Append {
    let mut append = Append::new();
    append.guards.push(Guard::Account(ALICE.to_owned(), state));
    append.devices.push(NewDeviceRow {
        user_id: ALICE.to_owned(),
        device_id: device.to_owned(),
        display_name: None,
        created_ms: 1,
    });
    append.sessions.push(SessionRow {
        session_id: name.to_owned(),
        user_id: ALICE.to_owned(),
        device_id: Some(device.to_owned()),
        origin: SessionOrigin::Password,
        created_ms: 1,
        expires_ms: None,
    });
    append.tokens.push(token(name, name, None));
    append
}

fn token(name: &str, session: &str, parent: Option<&str>) -> TokenRow {
    TokenRow {
        token_hash: format!("{name} access"),
        user_id: ALICE.to_owned(),
        session_id: session.to_owned(),
        generation: parent.map_or(0, |_| 1),
        created_ms: 1,
        expires_ms: None,
        refresh_hash: Some(format!("{name} refresh")),
        parent_hash: parent.map(|parent| format!("{parent} access")),
    }
}

fn update(row: AccountUpdateRow) -> Append {
    let mut append = Append::new();
    let user_id = ALICE.to_owned();
    append.account_updates.push(AccountUpdateRow { user_id, ..row });
    append
}

/// Changes the password and ends all sessions.
fn change_password(password: &str) -> Append {
    let password_hash = Some(password.to_owned());
    let mut append = update(AccountUpdateRow { password_hash, ..AccountUpdateRow::default() });
    let row = AllDeviceRemovalsRow { user_id: ALICE.to_owned(), except_device: None };
    append.all_device_removals.push(row);
    append
}

fn knows(password: &str) -> AccountState {
    AccountState::Password(Some(password.to_owned()))
}

async fn names(store: &Store, sql: &'static str) -> Vec<String> {
    let rows: Vec<(String,)> = store.read().await.unwrap().all(sql, &[]).await.unwrap();
    rows.into_iter().map(|(name,)| name).collect()
}

async fn sessions(store: &Store) -> Vec<String> {
    let by_session = names(store, "SELECT session_id FROM sessions ORDER BY session_id").await;
    let of_tokens =
        names(store, "SELECT DISTINCT session_id FROM access_tokens ORDER BY session_id").await;
    assert_eq!(by_session, of_tokens);
    by_session
}

both_databases! {
    async fn an_account_is_created_once_with_its_first_session(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let registration = |name: &str| {
            let mut append = account("hash");
            let Append { devices, sessions, tokens, .. } = login(name, "D", AccountState::Open);
            append.devices = devices;
            append.sessions = sessions;
            append.tokens = tokens;
            append
        };
        let answers = together(&node, vec![registration("one"), registration("two")]).await;
        assert!(answers[0].is_ok());
        assert!(matches!(answers[1], Err(AppendError::AccountChanged)), "{answers:?}");
        let answer = node.writer.append(registration("three")).await;
        assert!(matches!(answer, Err(AppendError::AccountChanged)), "{answer:?}");
        assert_eq!(sessions(&node.store).await, ["one"]);
    }

    async fn a_login_relies_on_the_password_that_was_checked(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, account("old")).await;
        let refused = |answer: Result<_, AppendError>| {
            assert!(matches!(answer, Err(AppendError::AccountChanged)));
        };
        write(&node, login("before", "A", knows("old"))).await;
        write(&node, login("open", "B", AccountState::Open)).await;
        refused(node.writer.append(login("wrong", "C", knows("new"))).await);
        refused(node.writer.append(login("none", "C", AccountState::Password(None))).await);
        write(&node, change_password("new")).await;
        refused(node.writer.append(login("late", "C", knows("old"))).await);
        write(&node, login("after", "C", knows("new"))).await;
        assert_eq!(sessions(&node.store).await, ["after"]);

        let deactivated = Some(1);
        write(&node, update(AccountUpdateRow { deactivated, ..AccountUpdateRow::default() })).await;
        refused(node.writer.append(login("closed", "D", knows("new"))).await);
        refused(node.writer.append(login("closed", "D", AccountState::Open)).await);
    }

    // The statements see a whole batch per table and cannot see what its appends do to one another.
    async fn changes_to_one_account_that_wait_together_keep_their_order(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, account("old")).await;
        let appends = vec![
            login("one", "A", knows("old")),
            change_password("new"),
            login("two", "A", knows("old")),
            login("three", "A", knows("new")),
            login("four", "A", knows("new")),
        ];
        let answers = together(&node, appends).await;
        let written: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(written, [true, true, false, true, true], "{answers:?}");
        assert_eq!(sessions(&node.store).await, ["four"]);
        let devices = names(&node.store, "SELECT device_id FROM devices").await;
        assert_eq!(devices, ["A"]);
    }

    async fn all_devices_except_one_are_removed(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, account("hash")).await;
        for (name, device) in [("a", "A"), ("b", "B"), ("c", "C")] {
            write(&node, login(name, device, AccountState::Open)).await;
        }
        let mut append = Append::new();
        append.all_device_removals.push(AllDeviceRemovalsRow {
            user_id: ALICE.to_owned(),
            except_device: Some("B".to_owned()),
        });
        write(&node, append).await;
        assert_eq!(sessions(&node.store).await, ["b"]);
        let devices = names(&node.store, "SELECT device_id FROM devices").await;
        assert_eq!(devices, ["B"]);
    }

    async fn a_refreshed_token_is_remembered_until_the_session_ends(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, account("hash")).await;
        write(&node, login("first", "A", AccountState::Open)).await;
        let refreshed = |name: &str| {
            let mut append = Append::new();
            append.guards.push(Guard::Token("first access".to_owned()));
            append.tokens.push(token(name, "first", Some("first")));
            append
        };
        // The second refresh replaces the first, whose token was never used.
        for answer in together(&node, vec![refreshed("unheard"), refreshed("second")]).await {
            answer.unwrap();
        }
        let used = TokenRemovalRow {
            user_id: ALICE.to_owned(),
            token_hash: "first access".to_owned(),
            successor: "second access".to_owned(),
        };
        let mut append = Append::new();
        append.token_removals.push(used);
        write(&node, append).await;
        let answer = node.writer.append(refreshed("third")).await;
        assert!(matches!(answer, Err(AppendError::SessionEnded)), "{answer:?}");

        let mut conn = node.store.read().await.unwrap();
        let left = names(&node.store, "SELECT token_hash FROM access_tokens").await;
        assert_eq!(left, ["second access"]);
        let spent = tokens::by_spent_hash(&mut conn, "first refresh").await.unwrap().unwrap();
        assert_eq!((&*spent.session_id, spent.user_id.as_str()), ("first", ALICE));
        for other in ["second refresh", "unheard refresh", "first access"] {
            assert!(tokens::by_spent_hash(&mut conn, other).await.unwrap().is_none(), "{other}");
        }
        drop(conn);

        write(&node, change_password("hash")).await;
        let spent = names(&node.store, "SELECT refresh_hash FROM spent_refresh_tokens").await;
        assert_eq!(spent, [""; 0]);
    }

    async fn a_session_remembers_its_last_thousand_tokens(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, account("hash")).await;
        write(&node, login("other", "B", AccountState::Open)).await;
        write(&node, login("first", "A", AccountState::Open)).await;
        let mut conn = node.store.write().await.unwrap();
        conn.execute(
            "INSERT INTO spent_refresh_tokens (session_id, generation, refresh_hash)
             WITH RECURSIVE numbers(n) AS (
                 SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1199)
             SELECT s.session_id, n, s.session_id || CAST(n AS TEXT) FROM numbers, sessions s",
            &[],
        )
        .await
        .unwrap();
        conn.execute("UPDATE access_tokens SET generation = 1200", &[]).await.unwrap();
        conn.commit().await.unwrap();
        let mut append = Append::new();
        append.tokens.push(TokenRow { generation: 1_201, ..token("second", "first", Some("first")) });
        write(&node, append).await;
        let mut append = Append::new();
        append.token_removals.push(TokenRemovalRow {
            user_id: ALICE.to_owned(),
            token_hash: "first access".to_owned(),
            successor: "second access".to_owned(),
        });
        write(&node, append).await;
        let counts: Vec<(String, i64, i64)> = node.store.read().await.unwrap()
            .all("SELECT session_id, COUNT(*), MIN(generation) FROM spent_refresh_tokens
                  GROUP BY session_id ORDER BY session_id", &[])
            .await
            .unwrap();
        assert_eq!(counts, [("first".to_owned(), 1_000, 201), ("other".to_owned(), 1_200, 0)]);
    }

    // A node of 0.1 that still runs on the database, or is started again after an upgrade, knows
    // nothing of sessions.
    async fn a_token_that_comes_without_a_session_gets_one(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut conn = node.store.write().await.unwrap();
        for (hash, parent) in [("first", None), ("second", Some("first")), ("third", None)] {
            conn.execute(
                "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ms, parent_hash)
                 VALUES ($1, '@alice:test', 'A', 1, $2)",
                &[hash.into(), parent.into()],
            )
            .await
            .unwrap();
        }
        conn.commit().await.unwrap();
        assert_eq!(sessions(&node.store).await, ["first", "third"]);
    }
}
