//! The audit chain for admins: its signed heads in the server's log, and the check of the whole
//! chain.
//!
//! A chain that is only in the database it protects proves nothing, because somebody who can
//! rewrite the one can rewrite the other. So its head is regularly written to the server's log, of
//! which admins keep a copy elsewhere.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ruma::{
    OwnedServerName, ServerName, SigningKeyAlgorithm,
    serde::{Base64, base64::Standard},
    signatures::{Ed25519KeyPair, KeyPair as _, verify_canonical_json_bytes},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stoa_base::Pos;
use stoa_storage::{
    Error, Result, Store,
    log::{AuditLink, audit_head, has_audit_link, verify_audit},
    repo::deployment,
};

/// Marks an exported head in a line of the log.
const MARK: &str = "stoa-audit-head/1 ";

/// A head of the chain, with the signature of the server that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SignedHead {
    link: AuditLink,
    key_id: String,
    signature: String,
}

impl SignedHead {
    fn new(server_name: &ServerName, link: AuditLink, key: &Ed25519KeyPair) -> Self {
        let signature = key.sign(signed_text(server_name, &link).as_bytes()).base64();
        Self { link, key_id: key.version().to_owned(), signature }
    }

    /// Finds the head in a line of the server's log, in either log format.
    fn find(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(MARK)?;
        let mut parts = rest.split_ascii_whitespace();
        let pos = parts.next()?.strip_prefix("pos=")?.parse().ok()?;
        let link = parts.next()?.strip_prefix("link=")?.to_owned();
        let key_id = parts.next()?.strip_prefix("key=ed25519:")?.to_owned();
        let signature = parts.next()?.strip_prefix("signature=")?;
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        let end = signature.find(|c| !is_base64(c)).unwrap_or(signature.len());
        let signature = signature.get(..end)?.to_owned();
        Some(Self { link: AuditLink { pos: Pos(pos), link }, key_id, signature })
    }

    fn is_signed_with(&self, server_name: &ServerName, key: &Ed25519KeyPair) -> bool {
        let Ok(signature) = Base64::<Standard>::parse(&self.signature) else { return false };
        verify_canonical_json_bytes(
            &SigningKeyAlgorithm::Ed25519,
            &key.public_key(),
            signature.as_bytes(),
            signed_text(server_name, &self.link).as_bytes(),
        )
        .is_ok()
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link: AuditLink { pos, link }, key_id, signature } = self;
        write!(f, "{MARK}pos={pos} link={link} key=ed25519:{key_id} signature={signature}")
    }
}

/// The canonical JSON that is signed.
fn signed_text(server_name: &ServerName, AuditLink { pos, link }: &AuditLink) -> String {
    json!({ "audit_link": link, "pos": pos.0, "server_name": server_name }).to_string()
}

/// Writes the heads of the chain to the log.
#[derive(Debug)]
pub struct HeadExport {
    store: Store,
    server_name: OwnedServerName,
    key: Arc<Ed25519KeyPair>,
    exported: AtomicI64,
}

impl HeadExport {
    /// Exports the heads of the chain in `store`, signed with `key`.
    pub fn new(store: Store, server_name: OwnedServerName, key: Arc<Ed25519KeyPair>) -> Self {
        Self { store, server_name, key, exported: AtomicI64::new(-1) }
    }

    /// Logs the head, unless it is the same as last time.
    pub async fn export(&self) -> Result<()> {
        let Some(head) = audit_head(&mut self.store.read().await?).await? else { return Ok(()) };
        if self.exported.swap(head.pos.0, Ordering::Relaxed) != head.pos.0 {
            let head = SignedHead::new(&self.server_name, head, &self.key);
            tracing::info!(target: "stoa::audit", "{head}");
        }
        Ok(())
    }

    /// Logs the head every `interval`, until the future is dropped.
    pub async fn run(self: Arc<Self>, interval: Duration) {
        let mut interval = tokio::time::interval(interval);
        loop {
            interval.tick().await;
            if let Err(error) = self.export().await {
                tracing::warn!(%error, "the head of the audit chain was not exported");
            }
        }
    }
}

/// The result of checking the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The number of correct entries.
    pub entries: u64,
    /// The number of correct links.
    pub links: u64,
    /// The position and link of the last correct link.
    pub head: Option<(i64, String)>,
    /// The first mismatch, if there is one.
    pub fault: Option<String>,
}

/// Checks the whole audit log, and that it still contains a head that was exported in `line`.
pub async fn verify(store: &Store, server_name: &ServerName, line: Option<&str>) -> Result<Report> {
    let check = verify_audit(store).await?;
    let mut fault = check.fault.map(|fault| fault.to_string());
    if let (None, Some(line)) = (&fault, line) {
        fault = fault_of_head(store, server_name, line).await?.map(str::to_owned);
    }
    Ok(Report {
        entries: check.entries,
        links: check.links,
        head: check.head.map(|head| (head.pos.0, head.link)),
        fault,
    })
}

/// Whether a line of the log holds a head of the chain.
pub fn holds_head(line: &str) -> bool {
    SignedHead::find(line).is_some()
}

async fn fault_of_head(
    store: &Store,
    server_name: &ServerName,
    line: &str,
) -> Result<Option<&'static str>> {
    let Some(head) = SignedHead::find(line) else {
        return Ok(Some("the line holds no exported head"));
    };
    let mut conn = store.read().await?;
    let Some(key) = deployment::signing_key(&mut conn, &head.key_id).await? else {
        return Ok(Some("the exported head is signed with a key that this server does not have"));
    };
    let key = Ed25519KeyPair::from_der(&key.pkcs8, key.key_id).map_err(Error::corrupt)?;
    if !head.is_signed_with(server_name, &key) {
        return Ok(Some("the signature of the exported head is wrong"));
    }
    let is_there = has_audit_link(&mut conn, &head.link).await?;
    Ok((!is_there).then_some("the chain does not contain the exported head"))
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn key() -> Ed25519KeyPair {
        let der = Ed25519KeyPair::generate();
        Ed25519KeyPair::from_der(&der, "a_1".to_owned()).expect("a key")
    }

    #[test]
    fn a_head_is_read_back_from_lines_of_either_format() {
        let link = AuditLink { pos: Pos(17), link: "ab".repeat(32) };
        let key = key();
        let head = SignedHead::new(server_name!("example.org:8448"), link, &key);
        for line in [
            format!("2026-01-01T00:00:00Z  INFO stoa::audit: {head}"),
            format!(r#"{{"fields":{{"message":"{head}"}},"target":"stoa::audit"}}"#),
        ] {
            assert_eq!(SignedHead::find(&line).as_ref(), Some(&head), "{line}");
        }
        assert!(head.is_signed_with(server_name!("example.org:8448"), &key));
        assert!(!head.is_signed_with(server_name!("example.com"), &key));
        let moved = AuditLink { pos: Pos(18), ..head.link.clone() };
        let moved = SignedHead { link: moved, ..head };
        assert!(!moved.is_signed_with(server_name!("example.org:8448"), &key));
        assert_eq!(SignedHead::find("another line"), None);
    }
}
