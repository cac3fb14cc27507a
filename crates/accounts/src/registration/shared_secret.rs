//! Registration with a shared secret, compatible with Synapse, for test tools and setup scripts.
//!
//! <https://element-hq.github.io/synapse/latest/admin_api/register_api.html>

use std::{net::IpAddr, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use stoa_base::Actor;
use stoa_storage::{
    Conn,
    log::{Append, SessionOrigin},
    repo::registration_nonces,
};

use super::{NewAccount, RegisterError, Registrar};
use crate::{
    before::before,
    failure::{Failure, fails_with_failure},
    secrets::{self, Secret},
    sessions::{NewDevice, NewSession, SessionStart},
};

/// How long a nonce is valid.
const NONCE_LIFETIME: Duration = Duration::from_mins(1);

/// The secret that allows registering users and admins.
pub(crate) struct SharedSecret(pub(crate) String);

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}

/// A request to register with the shared secret.
#[derive(Clone, Copy)]
pub struct SharedSecretRequest<'a> {
    /// The nonce that the server gave out.
    pub nonce: &'a str,
    /// The localpart of the new user.
    pub username: &'a str,
    /// The display name of the new user.
    pub display_name: Option<&'a str>,
    /// Its password.
    pub password: &'a str,
    /// Whether the user is an admin of this server.
    pub admin: bool,
    /// The request's `user_type`, which the MAC covers.
    pub user_type: Option<&'a str>,
    /// The HMAC-SHA1 of nonce, user name, password, role and user type under the secret, in hex.
    pub mac: &'a str,
    /// The address that the request came from.
    pub address: Option<IpAddr>,
}

/// Why no account was created.
#[derive(Debug, thiserror::Error)]
pub enum SharedSecretError {
    /// No shared secret is configured.
    #[error("registration by shared secret is not enabled")]
    Disabled,
    /// The nonce was not given out by this server, has been used, or has expired.
    #[error("unrecognized nonce")]
    UnknownNonce,
    /// The MAC was made with another secret or for another request.
    #[error("the MAC is wrong")]
    WrongMac,
    /// The account was refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(SharedSecretError);

impl Registrar {
    /// A nonce for one registration. It contains the time and a MAC by which this deployment
    /// recognizes it, so that nothing has to be stored before it is used.
    pub fn nonce(&self) -> Result<String, SharedSecretError> {
        let SharedSecret(secret) =
            self.shared_secret.as_ref().ok_or(SharedSecretError::Disabled)?;
        let given = format!("{}.{}", self.clock.now_ms(), self.random.alphanumeric(22));
        Ok(sign_nonce(secret, &given))
    }

    /// Creates an account and logs it in.
    pub async fn register_with_shared_secret(
        &self,
        request: SharedSecretRequest<'_>,
    ) -> Result<NewSession, SharedSecretError> {
        let SharedSecret(secret) =
            self.shared_secret.as_ref().ok_or(SharedSecretError::Disabled)?;
        let given_ms = self.check_nonce(secret, request.nonce)?;
        if !is_mac_right(secret, &request) {
            return Err(SharedSecretError::WrongMac);
        }
        // One attempt with the right secret uses up the nonce, whether or not it succeeds.
        if !self.take_nonce(request.nonce, given_ms).await? {
            return Err(SharedSecretError::UnknownNonce);
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
            seed: None,
        };
        let session = self.sessions.begin(&mut append, start).await?;
        self.append_account(append).await?;
        tracing::info!(user = %user_id, admin = request.admin, "account created by shared secret");
        Ok(session)
    }

    /// When a nonce was given out, if this deployment gave it out and it is still valid.
    fn check_nonce(&self, secret: &str, nonce: &str) -> Result<i64, SharedSecretError> {
        let unknown = SharedSecretError::UnknownNonce;
        let now_ms = self.clock.now_ms();
        let Some((given, _)) = nonce.rsplit_once('.') else { return Err(unknown) };
        let given_ms = given.split_once('.').and_then(|(ms, _)| ms.parse::<i64>().ok());
        let is_own = secrets::are_equal(&sign_nonce(secret, given), nonce);
        let oldest_ms = before(now_ms, NONCE_LIFETIME);
        given_ms.filter(|given_ms| is_own && *given_ms >= oldest_ms).ok_or(unknown)
    }

    /// Deletes used nonces that have expired long ago and would be refused anyway.
    pub(crate) async fn prune_nonces(&self, conn: &mut Conn) -> stoa_storage::Result<()> {
        registration_nonces::prune(conn, oldest_used_nonce(self.clock.now_ms())).await.map(drop)
    }

    async fn take_nonce(&self, nonce: &str, given_ms: i64) -> Result<bool, Failure> {
        let mut conn = self.store.write().await?;
        let is_new = registration_nonces::take(&mut conn, nonce, given_ms).await?;
        conn.commit().await?;
        Ok(is_new)
    }
}

/// The nonce that begins with `given`.
fn sign_nonce(secret: &str, given: &str) -> String {
    Secret::derive(secret, &["registration nonce", given]).text(&format!("{given}."))
}

/// Used nonces given out before this time are forgotten. It is well before the oldest nonce that is
/// still valid, because the clocks of nodes may differ.
fn oldest_used_nonce(now_ms: i64) -> i64 {
    before(now_ms, 60 * NONCE_LIFETIME)
}

/// Whether the MAC is right for the request. Takes the same time for every wrong MAC.
fn is_mac_right(secret: &str, request: &SharedSecretRequest<'_>) -> bool {
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
    const REQUEST: SharedSecretRequest<'_> = SharedSecretRequest {
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
    fn the_mac_agrees_with_openssl() {
        assert!(is_mac_right("complement", &REQUEST));
        let upper = REQUEST.mac.to_uppercase();
        assert!(is_mac_right("complement", &SharedSecretRequest { mac: &upper, ..REQUEST }));
    }

    #[test]
    fn the_mac_covers_the_user_type() {
        let mac = "eaebd0c1ed79c181037138998c3c7fbb839a025b";
        let bot = SharedSecretRequest { user_type: Some("bot"), mac, ..REQUEST };
        assert!(is_mac_right("complement", &bot));
    }

    #[test]
    fn changing_any_field_makes_the_mac_wrong() {
        let changed = [
            SharedSecretRequest { nonce: "m", ..REQUEST },
            SharedSecretRequest { username: "user", ..REQUEST },
            SharedSecretRequest { password: "passwörd", ..REQUEST },
            SharedSecretRequest { admin: false, ..REQUEST },
            SharedSecretRequest { user_type: Some("bot"), ..REQUEST },
            SharedSecretRequest { mac: "", ..REQUEST },
            SharedSecretRequest { mac: "not hexadecimal", ..REQUEST },
            SharedSecretRequest { mac: &REQUEST.mac[..38], ..REQUEST },
        ];
        for (place, request) in changed.iter().enumerate() {
            assert!(!is_mac_right("complement", request), "{place}");
        }
        assert!(!is_mac_right("another secret", &REQUEST));
    }
}
