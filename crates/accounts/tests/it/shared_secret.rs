use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use stoa_accounts::{Options, RegisterError, SharedSecretError, SharedSecretRequest};
use stoa_testing::{Backend, TestAccounts, both_databases};

use crate::fixture::{PASSWORD, Taken, login, taken};

fn options() -> Options {
    Options {
        registration_enabled: false,
        registration_shared_secret: Some("complement".to_owned()),
        ..TestAccounts::options()
    }
}

fn mac(nonce: &str, username: &str, admin: bool) -> String {
    use std::fmt::Write as _;
    let mut mac = Hmac::<Sha1>::new_from_slice(b"complement").unwrap();
    let admin = if admin { "admin" } else { "notadmin" };
    mac.update([nonce, username, PASSWORD, admin].join("\0").as_bytes());
    mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn request<'a>(
    nonce: &'a str,
    username: &'a str,
    admin: bool,
    mac: &'a str,
) -> SharedSecretRequest<'a> {
    SharedSecretRequest {
        nonce,
        username,
        display_name: None,
        password: PASSWORD,
        admin,
        user_type: None,
        mac,
        address: None,
    }
}

async fn used_nonces(node: &TestAccounts) -> u64 {
    // Never committed.
    let mut conn = node.node.store.write().await.unwrap();
    stoa_storage::repo::registration_nonces::prune(&mut conn, i64::MAX).await.unwrap()
}

both_databases! {
    async fn the_shared_secret_registers_users_and_admins(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        for (username, admin) in [("user", false), ("user-UPPER-Secret", true)] {
            let nonce = node.accounts.registrar.nonce().unwrap();
            let mac = mac(&nonce, username, admin);
            let request = SharedSecretRequest {
                display_name: Some("Shown"), ..request(&nonce, username, admin, &mac)
            };
            let begun = node.accounts.registrar.register_with_shared_secret(request).await.unwrap();
            assert_eq!(begun.user_id.localpart(), username.to_lowercase());
            let session = node.accounts.sessions.find(&begun.tokens.access_token).await.unwrap();
            assert_eq!(session.is_admin, admin);
            let profile = node.accounts.profiles.member_profile(&begun.user_id).await.unwrap();
            assert_eq!(profile.displayname.as_deref(), Some("Shown"));
            node.accounts.passwords.log_in(login(username, PASSWORD)).await.unwrap();
            assert_eq!(taken(&node.accounts, &begun.tokens.access_token).await, Taken::Good);
        }
    }

    async fn a_nonce_works_once_and_expires(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        let register = async |nonce: &str, username: &str| {
            let mac = mac(nonce, username, false);
            let request = request(nonce, username, false, &mac);
            node.accounts.registrar.register_with_shared_secret(request).await
        };
        let nonce = node.accounts.registrar.nonce().unwrap();
        register(&nonce, "a").await.unwrap();
        let late = node.accounts.registrar.nonce().unwrap();
        node.clock.advance(Duration::from_secs(61));
        for nonce in [nonce.as_str(), &late, "made up", "", "\0"] {
            let answer = register(nonce, "b").await;
            assert!(matches!(answer, Err(SharedSecretError::UnknownNonce)), "{answer:?}");
        }
    }

    async fn a_wrong_mac_makes_no_account_and_writes_nothing(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        let nonce = node.accounts.registrar.nonce().unwrap();
        let right = mac(&nonce, "alice", false);
        let answer = node
            .accounts
            .registrar.register_with_shared_secret(request(&nonce, "alice", true, &right))
            .await;
        assert!(matches!(answer, Err(SharedSecretError::WrongMac)), "{answer:?}");
        assert_eq!(used_nonces(&node).await, 0);
        let changed = nonce.replacen('1', "2", 1);
        let changed_mac = mac(&changed, "alice", false);
        let answer = node
            .accounts
            .registrar.register_with_shared_secret(request(&changed, "alice", false, &changed_mac))
            .await;
        assert!(matches!(answer, Err(SharedSecretError::UnknownNonce)), "{answer:?}");
    }

    async fn a_nonce_works_once_across_all_nodes(db: TestDatabase) {
        let here = TestAccounts::start_with(db, options()).await;
        let there = match db.backend() {
            Backend::Sqlite => here.clone(),
            Backend::Postgres => here.another(db, options()).await,
        };
        for _ in 0..100 {
            here.accounts.registrar.nonce().unwrap();
        }
        assert_eq!(used_nonces(&here).await, 0, "a nonce that is given is not written");
        let nonce = here.accounts.registrar.nonce().unwrap();
        let register = async |node: &TestAccounts, username: &str| {
            let mac = mac(&nonce, username, false);
            let request = request(&nonce, username, false, &mac);
            node.accounts.registrar.register_with_shared_secret(request).await
        };
        register(&there, "alice").await.unwrap();
        for node in [&here, &there] {
            let answer = register(node, "bob").await;
            assert!(matches!(answer, Err(SharedSecretError::UnknownNonce)), "{answer:?}");
        }
        // The used nonce is remembered for longer than it would be valid.
        here.accounts.prune_expired().await.unwrap();
        assert_eq!(used_nonces(&here).await, 1);
        here.clock.advance(Duration::from_secs(3_601));
        here.accounts.prune_expired().await.unwrap();
        assert_eq!(used_nonces(&here).await, 0);
    }

    async fn user_names_follow_the_same_rules(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        let register = async |username: &str| {
            let nonce = node.accounts.registrar.nonce().unwrap();
            let mac = mac(&nonce, username, false);
            let request = request(&nonce, username, false, &mac);
            node.accounts.registrar.register_with_shared_secret(request).await
        };
        let answer = register("us,er").await;
        assert!(
            matches!(
                answer,
                Err(SharedSecretError::Register(RegisterError::InvalidUsername(_)))
            ),
            "{answer:?}"
        );
        register("taken").await.unwrap();
        let answer = register("Taken").await;
        assert!(
            matches!(answer, Err(SharedSecretError::Register(RegisterError::UserInUse))),
            "{answer:?}"
        );
    }

    async fn registration_is_refused_without_a_configured_secret(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let answer = node.accounts.registrar.nonce();
        assert!(matches!(answer, Err(SharedSecretError::Disabled)), "{answer:?}");
        let request = request("n", "alice", true, "00");
        let answer = node.accounts.registrar.register_with_shared_secret(request).await;
        assert!(matches!(answer, Err(SharedSecretError::Disabled)), "{answer:?}");
    }
}
