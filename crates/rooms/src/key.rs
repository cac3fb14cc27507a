//! The key that this server signs events with. It is in the database, so that all nodes share it.

use ruma::signatures::Ed25519KeyPair;
use stoa_base::{Clock, Random};
use stoa_storage::{Error, Result, Store, repo::deployment};

/// Loads the deployment's signing key. The first node that starts creates it.
pub async fn load_or_create(
    store: &Store,
    clock: &Clock,
    random: &Random,
) -> Result<Ed25519KeyPair> {
    let pkcs8 = Ed25519KeyPair::generate().to_vec();
    let new = deployment::SigningKeyRow {
        key_id: format!("a_{}", random.alphanumeric(6)),
        pkcs8,
        created_ms: clock.now_ms(),
    };
    let mut conn = store.write().await?;
    let key = deployment::signing_key_or_insert(&mut conn, &new).await?;
    conn.commit().await?;
    Ed25519KeyPair::from_der(&key.pkcs8, key.key_id).map_err(Error::corrupt)
}
