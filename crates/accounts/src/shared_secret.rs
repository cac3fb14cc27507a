//! Registration by whoever knows the shared secret, as Synapse has it: test tools and set-up scripts
//! speak it.
//!
//! <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>

use std::{net::IpAddr, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use stoa_base::Actor;
use stoa_storage::{
    log::{Append, SessionOrigin},
    repo::registration_nonces,
};

use crate::{
    Accounts, Failure, NewDevice, NewSession, RegistrationError, accounts::before,
    failure::fails_with_failure, new_session::SessionStart, registration::NewAccount,
};

/// How long a nonce is good.
const NONCE_LIFETIME: Duration = Duration::from_mins(1);
/// How many nonces may be open on the whole deployment.
const MAX_NONCES: i64 = 10_000;

/// A request to register with the shared secret.
#[derive(Clone, Copy)]
pub struct SharedSecretRegistration<'a> {
    /// The nonce that the server gave.
    pub nonce: &'a str,
    /// The localpart of the new user.
    pub username: &'a str,
    /// What it is called in rooms.
    pub display_name: Option<&'a str>,
    /// Its password.
    pub password: &'a str,
    /// Whether it may use the admin API.
    pub admin: bool,
    /// The request's `user_type`, which the MAC covers.
    pub user_type: Option<&'a str>,
    /// The HMAC-SHA1 of the above under the secret, as hexadecimal digits.
    pub mac: &'a str,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

/// Why no account is made.
#[derive(Debug, thiserror::Error)]
pub enum SharedSecretError {
    /// The server has no shared secret.
    #[error("registration by shared secret is not enabled")]
    Disabled,
    /// The nonce was not given by this server, was used, or has expired.
    #[error("unrecognized nonce")]
    UnknownNonce,
    /// Whoever made the MAC does not know the secret, or made it of something else.
    #[error("the MAC is wrong")]
    WrongMac,
    /// The account itself is refused.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The server is at fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(SharedSecretError);

impl Accounts {
    /// A nonce for one registration.
    pub async fn registration_nonce(&self) -> Result<String, SharedSecretError> {
        if self.options.registration_shared_secret.is_none() {
            return Err(SharedSecretError::Disabled);
        }
        let nonce = self.random.alphanumeric(64);
        let now_ms = self.clock.now_ms();
        let mut conn = self.store.write().await?;
        registration_nonces::prune(&mut conn, oldest_nonce(now_ms)).await?;
        let is_added = registration_nonces::insert(&mut conn, &nonce, now_ms, MAX_NONCES).await?;
        conn.commit().await?;
        if is_added { Ok(nonce) } else { Err(Failure::Busy.into()) }
    }

    /// Makes an account and logs it in.
    pub async fn register_with_shared_secret(
        &self,
        request: SharedSecretRegistration<'_>,
    ) -> Result<NewSession, SharedSecretError> {
        let secret = self.options.registration_shared_secret.as_deref();
        let secret = secret.ok_or(SharedSecretError::Disabled)?;
        // A nonce is used up by one try, whatever comes of it.
        if !self.take_nonce(request.nonce).await? {
            return Err(SharedSecretError::UnknownNonce);
        }
        if !is_mac_right(secret, &request) {
            return Err(SharedSecretError::WrongMac);
        }
        let user_id = self.new_user_id(request.username)?;
        self.check_is_free(&user_id).await?;
        let password_hash = self.hash_new_password(request.password).await?;
        let account = NewAccount {
            user_id: &user_id,
            password_hash: Some(&password_hash),
            admin: request.admin,
            display_name: request.display_name,
            origin: "shared_secret",
        };
        let actor = Actor { address: request.address, ..Actor::user(&user_id) };
        let mut append = Append::new();
        self.add_account(&mut append, &actor, account)?;
        let start = SessionStart {
            user_id: &user_id,
            device: &NewDevice::default(),
            origin: SessionOrigin::SharedSecret,
            address: request.address,
        };
        let session = self.begin_session(&mut append, start, self.new_tokens(false, None));
        self.append_account(append).await?;
        tracing::info!(user = %user_id, admin = request.admin, "account made by shared secret");
        Ok(session)
    }

    async fn take_nonce(&self, nonce: &str) -> Result<bool, Failure> {
        if nonce.contains('\0') {
            return Ok(false);
        }
        let oldest_ms = oldest_nonce(self.clock.now_ms());
        let mut conn = self.store.write().await?;
        let is_good = registration_nonces::take(&mut conn, nonce, oldest_ms).await?;
        conn.commit().await?;
        Ok(is_good)
    }
}

/// When the oldest nonce that is still good was given.
pub(crate) fn oldest_nonce(now_ms: i64) -> i64 {
    before(now_ms, NONCE_LIFETIME)
}

/// Whether the MAC is that of the request. Takes as long for any wrong one.
fn is_mac_right(secret: &str, request: &SharedSecretRegistration<'_>) -> bool {
    let (Ok(mut mac), Some(given)) =
        (Hmac::<Sha1>::new_from_slice(secret.as_bytes()), from_hex(request.mac))
    else {
        return false;
    };
    let admin = if request.admin { "admin" } else { "notadmin" };
    let parts = [request.nonce, request.username, request.password, admin];
    for (place, part) in parts.into_iter().chain(request.user_type).enumerate() {
        if place > 0 {
            mac.update(b"\0");
        }
        mac.update(part.as_bytes());
    }
    mac.verify_slice(&given).is_ok()
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request whose MAC was made with `printf 'n\0User\0pässwörd\0admin' | openssl dgst -sha1
    /// -hmac complement`.
    const REQUEST: SharedSecretRegistration<'_> = SharedSecretRegistration {
        nonce: "n",
        username: "User",
        display_name: None,
        password: "pässwörd",
        admin: true,
        user_type: None,
        mac: "c13848116363eff78588b93a2e41057d91d5ff64",
        address: None,
    };

    #[test]
    fn the_mac_is_the_one_that_other_programs_make() {
        assert!(is_mac_right("complement", &REQUEST));
        let upper = REQUEST.mac.to_uppercase();
        assert!(is_mac_right("complement", &SharedSecretRegistration { mac: &upper, ..REQUEST }));
    }

    #[test]
    fn the_mac_covers_the_user_type() {
        let mac = "eaebd0c1ed79c181037138998c3c7fbb839a025b";
        let bot = SharedSecretRegistration { user_type: Some("bot"), mac, ..REQUEST };
        assert!(is_mac_right("complement", &bot));
    }

    #[test]
    fn whatever_is_changed_makes_the_mac_wrong() {
        let changed = [
            SharedSecretRegistration { nonce: "m", ..REQUEST },
            SharedSecretRegistration { username: "user", ..REQUEST },
            SharedSecretRegistration { password: "passwörd", ..REQUEST },
            SharedSecretRegistration { admin: false, ..REQUEST },
            SharedSecretRegistration { user_type: Some("bot"), ..REQUEST },
            SharedSecretRegistration { mac: "", ..REQUEST },
            SharedSecretRegistration { mac: "not hexadecimal", ..REQUEST },
            SharedSecretRegistration { mac: &REQUEST.mac[..38], ..REQUEST },
        ];
        for (place, request) in changed.iter().enumerate() {
            assert!(!is_mac_right("complement", request), "{place}");
        }
        assert!(!is_mac_right("another secret", &REQUEST));
    }
}
