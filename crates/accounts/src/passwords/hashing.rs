//! Password hashing, which is slow and runs off the threads that serve requests.

use std::sync::{Arc, OnceLock};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use stoa_base::Random;
use tokio::sync::Semaphore;

use crate::{failure::Failure, options::PasswordCost};

/// The maximum length of a password, in bytes.
const MAX_PASSWORD: usize = 1_024;
/// How many callers may wait for a password to be hashed.
const MAX_WAITING: usize = 1_024;

/// Why a new password is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPassword {
    /// It is empty, so knowing the user ID would be enough to log in.
    #[error("the password is empty")]
    Empty,
    /// It is too long.
    #[error("the password is too long")]
    TooLong,
}

/// Refuses a new password that is empty or too long.
pub(crate) const fn check_new_password(password: &str) -> Result<(), UnfitPassword> {
    match password.len() {
        0 => Err(UnfitPassword::Empty),
        1..=MAX_PASSWORD => Ok(()),
        _ => Err(UnfitPassword::TooLong),
    }
}

/// The configured password cost is not valid for argon2.
#[derive(Debug, thiserror::Error)]
#[error("argon2 cannot have this cost: {0}")]
pub struct BadPasswordCost(String);

/// Hashes and verifies a limited number of passwords at a time.
#[derive(Debug)]
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    random: Random,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// A hash that matches no password, for users who do not exist.
    nobody: Arc<OnceLock<String>>,
}

impl Hasher {
    pub(crate) fn new(
        cost: PasswordCost,
        workers: usize,
        random: Random,
    ) -> Result<Self, BadPasswordCost> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None)
            .map_err(|error| BadPasswordCost(error.to_string()))?;
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            random,
            running: Arc::new(Semaphore::new(workers.max(1))),
            waiting: Semaphore::new(MAX_WAITING),
            nobody: Arc::default(),
        })
    }

    /// The hash of a password, as a PHC string.
    #[tracing::instrument(name = "hash_password", level = "debug", skip_all)]
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Failure> {
        let argon2 = self.argon2.clone();
        let salt: [u8; 16] = self.random.bytes();
        let password = password.to_owned();
        self.run(move || hash(&argon2, &password, &salt)).await?
    }

    /// Whether a password matches a hash. Without a hash the answer is `false`, and takes just as
    /// long.
    #[tracing::instrument(name = "verify_password", level = "debug", skip_all)]
    pub(crate) async fn verify(
        &self,
        password: &str,
        hashed: Option<String>,
    ) -> Result<bool, Failure> {
        if password.len() > MAX_PASSWORD {
            return Ok(false);
        }
        let argon2 = self.argon2.clone();
        let nobody = Arc::clone(&self.nobody);
        let salt: [u8; 16] = self.random.bytes();
        let password = password.to_owned();
        self.run(move || {
            if let Some(hashed) = hashed {
                return verify(&argon2, &password, &hashed);
            }
            let nobody = if let Some(nobody) = nobody.get() {
                nobody
            } else {
                let made = hash(&argon2, "", &salt)?;
                nobody.get_or_init(|| made)
            };
            verify(&argon2, &password, nobody).map(|_| false)
        })
        .await?
    }

    /// Waits for a permit, then runs the work on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let _place = self.waiting.try_acquire().map_err(|_| Failure::Busy)?;
        // The permit moves into the work: a client that hangs up does not free it while the
        // work still runs.
        let running = Arc::clone(&self.running).acquire_owned().await;
        let turn = running.map_err(|_| Failure::Busy)?;
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "hashing a password failed");
            Failure::Busy
        })
    }
}

fn hash(argon2: &Argon2<'_>, password: &str, salt: &[u8]) -> Result<String, Failure> {
    let hashed: PasswordHash =
        argon2.hash_password_with_salt(password.as_bytes(), salt).map_err(unhashable)?;
    Ok(hashed.to_string())
}

fn verify(argon2: &Argon2<'_>, password: &str, hashed: &str) -> Result<bool, Failure> {
    let hashed = PasswordHash::new(hashed).map_err(unhashable)?;
    Ok(argon2.verify_password(password.as_bytes(), &hashed).is_ok())
}

/// A stored hash cannot be parsed, or a password cannot be hashed at the configured cost.
fn unhashable(error: impl std::fmt::Display) -> Failure {
    Failure::Storage(stoa_storage::Error::corrupt(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> Hasher {
        let cost = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };
        Hasher::new(cost, 1, Random::seeded(1)).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let hasher = hasher();
        let hashed = hasher.hash("pässwörd").await.unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hashed}");
        assert!(hasher.verify("pässwörd", Some(hashed.clone())).await.unwrap());
        assert!(!hasher.verify("passwörd", Some(hashed)).await.unwrap());
    }

    #[tokio::test]
    async fn equal_passwords_have_different_hashes() {
        let hasher = hasher();
        assert_ne!(hasher.hash("x").await.unwrap(), hasher.hash("x").await.unwrap());
    }

    #[tokio::test]
    async fn no_password_verifies_without_a_hash() {
        let hasher = hasher();
        assert!(!hasher.verify("", None).await.unwrap());
        assert!(!hasher.verify("x", None).await.unwrap());
    }

    #[tokio::test]
    async fn a_password_that_is_too_long_is_wrong() {
        let hasher = hasher();
        let long = "x".repeat(MAX_PASSWORD + 1);
        let hashed = hasher.hash(&long).await.unwrap();
        assert!(!hasher.verify(&long, Some(hashed)).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_made_at_another_cost_still_verifies() {
        let dearer = PasswordCost { memory_kib: 16, passes: 2, lanes: 1 };
        let dearer = Hasher::new(dearer, 1, Random::seeded(1)).unwrap();
        let hashed = dearer.hash("x").await.unwrap();
        assert!(hasher().verify("x", Some(hashed)).await.unwrap());
    }

    #[test]
    fn the_default_cost_is_the_minimum_of_owasp() {
        let PasswordCost { memory_kib, passes, lanes } = PasswordCost::default();
        assert_eq!((memory_kib, passes, lanes), (19_456, 2, 1));
    }

    #[test]
    fn an_impossible_cost_is_refused() {
        let cost = PasswordCost { memory_kib: 0, passes: 0, lanes: 0 };
        assert!(Hasher::new(cost, 1, Random::seeded(1)).is_err());
    }

    #[tokio::test]
    async fn a_caller_is_refused_when_too_many_are_waiting() {
        let hasher = hasher();
        let _all = hasher.waiting.try_acquire_many(1_024).unwrap();
        assert!(matches!(hasher.hash("x").await, Err(Failure::Busy)));
    }
}
