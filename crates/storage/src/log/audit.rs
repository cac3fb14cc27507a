//! The audit log: entries about who did what, written together with the change that they record,
//! and the hash chain over them.
//!
//! The chain has one link for each batch with entries. A link is computed under the log lock from
//! the link before it, the position, and the text of each entry. Whoever later changes, adds or
//! removes an entry would have to recompute all links after it, and then none of the links that
//! were exported before would be in the chain.

mod verify;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use stoa_base::Actor;

pub use self::verify::{
    AuditCheck, AuditFault, AuditLink, audit_head, has_audit_link, verify_audit,
};
/// Used in place of a previous link by the first link.
const NO_LINK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An audited action. The names are stable, because programs that read the entries rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum AuditAction {
    /// An account was created.
    #[serde(rename = "account.created")]
    AccountCreated,
    /// An account's password was changed.
    #[serde(rename = "account.password_changed")]
    PasswordChanged,
    /// An account was deactivated.
    #[serde(rename = "account.deactivated")]
    AccountDeactivated,
    /// A user logged in or registered: a session began.
    #[serde(rename = "session.begun")]
    SessionBegun,
    /// One or more sessions ended.
    #[serde(rename = "session.ended")]
    SessionEnded,
    /// Somebody tried wrong passwords, or tried too often.
    #[serde(rename = "login.failed")]
    LoginFailed,
    /// A user was removed from a room by somebody else, or their invite or knock was rejected.
    #[serde(rename = "membership.kicked")]
    MemberKicked,
    /// A user was banned from a room.
    #[serde(rename = "membership.banned")]
    MemberBanned,
    /// A user's ban was lifted.
    #[serde(rename = "membership.unbanned")]
    MemberUnbanned,
}

/// The outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

/// An entry of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRow {
    at_ms: i64,
    action: AuditAction,
    /// The user who acted, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The user who was acted on.
    target: String,
    outcome: AuditOutcome,
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
}

impl AuditRow {
    /// An entry for what `actor` did to the user `target`.
    pub fn new(at_ms: i64, action: AuditAction, actor: &Actor, target: impl Into<String>) -> Self {
        Self {
            at_ms,
            action,
            actor: Some(actor.user_id.to_string()),
            device: actor.device_id.as_ref().map(ToString::to_string),
            address: actor.address.map(|address| address.to_string()),
            target: target.into(),
            outcome: AuditOutcome::Done,
            details: Map::new(),
        }
    }

    /// An entry for something done to the user `target` from `address`, by somebody unknown.
    pub fn unattributed(
        at_ms: i64,
        action: AuditAction,
        address: Option<String>,
        target: impl Into<String>,
    ) -> Self {
        Self {
            at_ms,
            action,
            actor: None,
            device: None,
            address,
            target: target.into(),
            outcome: AuditOutcome::Done,
            details: Map::new(),
        }
    }

    /// Marks the action as tried and refused.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.outcome = AuditOutcome::Refused;
        self
    }

    /// Adds a detail. It must be short and must not be a secret.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The text that is stored, and that the chain is computed over.
    pub(super) fn to_entry(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// The link over the entries of the batch that ends at `pos`. On PostgreSQL `append_audit` computes
/// the same.
pub(super) fn link<E: AsRef<str>>(previous: Option<&str>, pos: i64, entries: &[E]) -> String {
    let mut text = format!("{} {pos}", previous.unwrap_or(NO_LINK));
    for entry in entries {
        text.push(' ');
        text.push_str(&hex_digest(entry.as_ref()));
    }
    hex_digest(&text)
}

fn hex_digest(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
