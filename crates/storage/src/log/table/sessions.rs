//! New sessions.

use serde::Serialize;

use super::{Claim, Fit, TableRow, check};

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionOrigin {
    /// By logging in with a password.
    Password,
    /// By registering an account.
    Registration,
    /// By registering an account with the shared secret.
    SharedSecret,
    /// By single sign-on.
    Sso,
    /// By an OAuth 2.0 client.
    Oauth,
    /// By an application service, for one of its users.
    ApplicationService,
    /// By an admin who acts for the user.
    Admin,
}

impl SessionOrigin {
    /// The name in the database and in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Registration => "registration",
            Self::SharedSecret => "shared_secret",
            Self::Sso => "sso",
            Self::Oauth => "oauth",
            Self::ApplicationService => "application_service",
            Self::Admin => "admin",
        }
    }
}

impl Serialize for SessionOrigin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A new session. It replaces its device's earlier sessions.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// Its ID, which is not secret.
    pub session_id: String,
    /// The Matrix ID of the session's user.
    pub user_id: String,
    /// The session's device, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// How it began.
    pub origin: SessionOrigin,
    /// When it began, in milliseconds.
    pub created_ms: i64,
    /// When it ends, no matter how often it is refreshed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

impl TableRow for SessionRow {
    // A new session replaces its device's earlier ones.
    const SQLITE: &'static [&'static str] = &[
        "
DELETE FROM spent_refresh_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS n JOIN sessions s
    ON s.user_id = n.value->>'user_id' AND s.device_id = n.value->>'device_id')",
        "
DELETE FROM access_tokens WHERE session_id IN (
    SELECT s.session_id FROM json_each($1) AS n JOIN sessions s
    ON s.user_id = n.value->>'user_id' AND s.device_id = n.value->>'device_id')",
        "
DELETE FROM sessions WHERE (user_id, device_id) IN (
    SELECT value->>'user_id', value->>'device_id' FROM json_each($1))",
        "
INSERT INTO sessions (session_id, user_id, device_id, origin, created_ms, expires_ms)
SELECT value->>'session_id', value->>'user_id', value->>'device_id', value->>'origin',
    value->>'created_ms', value->>'expires_ms'
FROM json_each($1)",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.session_id])?;
        check::identifiers(&self.device_id)
    }

    fn claims<'a>(&'a self, claims: &mut Vec<Claim<'a>>) {
        claims.push(Claim::Account(&self.user_id));
    }
}
