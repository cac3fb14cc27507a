//! Secrets: how they are made, and the hashes under which they are stored.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use stoa_base::Random;
use stoa_storage::{Store, repo::deployment};

/// A secret of 256 bits for a client. It has no `Debug`, so that it cannot end up in a log.
pub(crate) struct Secret([u8; 32]);

impl Secret {
    pub(crate) fn random(random: &Random) -> Self {
        Self(random.bytes())
    }

    /// The secret as text, after a prefix that helps to find leaked secrets.
    pub(crate) fn text(&self, prefix: &str) -> String {
        let mut text = prefix.to_owned();
        URL_SAFE_NO_PAD.encode_string(self.0, &mut text);
        text
    }

    /// A secret derived from `key` and `context`. The same inputs give the same secret.
    pub(crate) fn derive(key: &str, context: &[&str]) -> Self {
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
            unreachable!("HMAC refused a key")
        };
        for part in context {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        Self(mac.finalize().into_bytes().into())
    }
}

/// A secret shared by all nodes of a deployment and created by the first one. With it, each node
/// verifies what any other has signed.
#[derive(Clone)]
pub struct DeploymentSecret(pub(crate) String);

impl DeploymentSecret {
    /// Loads the secret of the deployment that uses this database, or creates it.
    pub async fn load_or_create(store: &Store, random: &Random) -> stoa_storage::Result<Self> {
        let made = Secret::random(random).text("");
        let mut conn = store.write().await?;
        let secret = deployment::secret_or_insert(&mut conn, "accounts_secret", &made).await?;
        conn.commit().await?;
        Ok(Self(secret))
    }
}

impl std::fmt::Debug for DeploymentSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentSecret").finish_non_exhaustive()
    }
}

/// The hash under which a secret is stored.
pub(crate) fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

/// Whether two secrets are equal. The time that this takes does not reveal how long their common
/// prefix is.
pub(crate) fn are_equal(a: &str, b: &str) -> bool {
    hash(a) == hash(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_secret_depends_on_the_key_and_on_each_part() {
        let text = |key, context: &[&str]| Secret::derive(key, context).text("");
        let first = text("key", &["a", "bc"]);
        assert_eq!(first, text("key", &["a", "bc"]));
        assert_ne!(first, text("other", &["a", "bc"]));
        assert_ne!(first, text("key", &["ab", "c"]));
        assert_ne!(first, text("key", &["a"]));
    }

    #[test]
    fn a_secret_has_256_bits_after_its_prefix() {
        let text = Secret::random(&Random::system()).text("stoa_");
        assert_eq!(text.len(), "stoa_".len() + 43);
        assert_ne!(hash(&text), text);
    }
}
