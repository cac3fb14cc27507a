use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use stoa_accounts::{Options, RegistrationError, SharedSecretError, SharedSecretRegistration};
use stoa_testing::{TestAccounts, both_databases};

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
) -> SharedSecretRegistration<'a> {
    SharedSecretRegistration {
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

both_databases! {
    async fn who_knows_the_secret_makes_users_and_admins(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        for (username, admin) in [("user", false), ("user-UPPER-Secret", true)] {
            let nonce = node.accounts.registration_nonce().await.unwrap();
            let mac = mac(&nonce, username, admin);
            let request = SharedSecretRegistration {
                display_name: Some("Shown"), ..request(&nonce, username, admin, &mac)
            };
            let begun = node.accounts.register_with_shared_secret(request).await.unwrap();
            assert_eq!(begun.user_id.localpart(), username.to_lowercase());
            let session = node.accounts.session(&begun.tokens.access_token).await.unwrap();
            assert_eq!(session.is_admin, admin);
            let profile = node.accounts.member_profile(&begun.user_id).await.unwrap();
            assert_eq!(profile.displayname.as_deref(), Some("Shown"));
            node.accounts.log_in_with_password(login(username, PASSWORD)).await.unwrap();
            assert_eq!(taken(&node.accounts, &begun.tokens.access_token).await, Taken::Good);
        }
    }

    async fn a_nonce_is_good_once_and_not_for_long(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        let register = async |nonce: &str, username: &str| {
            let mac = mac(nonce, username, false);
            let request = request(nonce, username, false, &mac);
            node.accounts.register_with_shared_secret(request).await
        };
        let nonce = node.accounts.registration_nonce().await.unwrap();
        register(&nonce, "a").await.unwrap();
        let late = node.accounts.registration_nonce().await.unwrap();
        node.clock.advance(Duration::from_secs(61));
        for nonce in [nonce.as_str(), &late, "made up", "", "\0"] {
            let answer = register(nonce, "b").await;
            assert!(matches!(answer, Err(SharedSecretError::UnknownNonce)), "{answer:?}");
        }
    }

    async fn a_wrong_mac_uses_the_nonce_up(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        let nonce = node.accounts.registration_nonce().await.unwrap();
        let right = mac(&nonce, "alice", false);
        let answer = node
            .accounts
            .register_with_shared_secret(request(&nonce, "alice", true, &right))
            .await;
        assert!(matches!(answer, Err(SharedSecretError::WrongMac)), "{answer:?}");
        let answer = node
            .accounts
            .register_with_shared_secret(request(&nonce, "alice", false, &right))
            .await;
        assert!(matches!(answer, Err(SharedSecretError::UnknownNonce)), "{answer:?}");
    }

    async fn names_have_the_same_rules(db: TestDatabase) {
        let node = TestAccounts::start_with(db, options()).await;
        let register = async |username: &str| {
            let nonce = node.accounts.registration_nonce().await.unwrap();
            let mac = mac(&nonce, username, false);
            let request = request(&nonce, username, false, &mac);
            node.accounts.register_with_shared_secret(request).await
        };
        let answer = register("us,er").await;
        assert!(
            matches!(
                answer,
                Err(SharedSecretError::Registration(RegistrationError::InvalidUsername(_)))
            ),
            "{answer:?}"
        );
        register("taken").await.unwrap();
        let answer = register("Taken").await;
        assert!(
            matches!(answer, Err(SharedSecretError::Registration(RegistrationError::UserInUse))),
            "{answer:?}"
        );
    }

    async fn without_a_secret_there_is_no_such_registration(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let answer = node.accounts.registration_nonce().await;
        assert!(matches!(answer, Err(SharedSecretError::Disabled)), "{answer:?}");
        let request = request("n", "alice", true, "00");
        let answer = node.accounts.register_with_shared_secret(request).await;
        assert!(matches!(answer, Err(SharedSecretError::Disabled)), "{answer:?}");
    }
}
