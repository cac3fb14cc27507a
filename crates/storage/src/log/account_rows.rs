//! The rows of an append that are about accounts, their devices, sessions and tokens. None of them
//! holds a position.
//!
//! The writer puts no two appends that change the same account into one batch: see
//! [`Append::accounts`](super::Append). Removals are carried out before what is new is inserted.

use serde::Serialize;

/// A new account. To be guarded by [`AccountState::Absent`](super::AccountState).
#[derive(Clone, Debug, Serialize)]
pub struct NewUserRow {
    /// Its Matrix ID.
    pub user_id: String,
    /// Its password, hashed, as a PHC string; none where it cannot log in with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// 1 where it may use the admin API, else 0.
    pub admin: i64,
    /// When it was made, in milliseconds.
    pub created_ms: i64,
}

/// A change to an account. What is `None` stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AccountUpdateRow {
    /// The account.
    pub user_id: String,
    /// The new password, hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// 1 where it may use the admin API from now on, 0 where it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<i64>,
    /// 1 where it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<i64>,
}

/// A field of a user's profile that is set.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileFieldRow {
    /// The user.
    pub user_id: String,
    /// The field.
    pub field: String,
    /// Its value, as JSON.
    pub value: String,
}

/// What came of an operation that asked for interactive authentication.
#[derive(Clone, Debug, Serialize)]
pub struct InteractiveResultRow {
    /// The authentication session.
    pub session_hash: String,
    /// The result, as JSON.
    pub result: String,
}

/// A device. Where its user has one with this ID, that one stays as it is.
#[derive(Clone, Debug, Serialize)]
pub struct NewDeviceRow {
    /// The user.
    pub user_id: String,
    /// The device.
    pub device_id: String,
    /// What its user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When it was made, in milliseconds.
    pub created_ms: i64,
}

/// How a session was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionOrigin {
    /// By a password.
    Password,
    /// By registering the account.
    Registration,
    /// By registering the account with the shared secret.
    SharedSecret,
    /// By single sign-on.
    Sso,
    /// By an OAuth 2.0 client.
    Oauth,
    /// By an application service, for one of its users.
    ApplicationService,
    /// By an admin, who acts for the user.
    Admin,
}

impl SessionOrigin {
    /// The name that stands in the database and in the audit log.
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

/// A new session. It takes the place of those that its device had.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// Its ID, which is not secret.
    pub session_id: String,
    /// Whose it is.
    pub user_id: String,
    /// For which device, if it is for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// How it was begun.
    pub origin: SessionOrigin,
    /// When it was begun, in milliseconds.
    pub created_ms: i64,
    /// When it ends, however often it is refreshed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

/// A new access token, with the refresh token that is given out with it. It takes the place of
/// those that were refreshed from the same token before.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRow {
    /// The access token's hash.
    pub token_hash: String,
    /// Whose it is.
    #[serde(skip)]
    pub user_id: String,
    /// The session.
    pub session_id: String,
    /// How often the session was refreshed before.
    pub generation: i64,
    /// When it was made, in milliseconds.
    pub created_ms: i64,
    /// When the access token expires, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// The refresh token's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_hash: Option<String>,
    /// The hash of the access token that it was refreshed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_hash: Option<String>,
}

/// All devices of a user that are removed, with their sessions.
#[derive(Clone, Debug, Serialize)]
pub struct AllDeviceRemovalsRow {
    /// The user.
    pub user_id: String,
    /// The device that stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except_device: Option<String>,
}

/// A device that is removed, with its session.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceRemovalRow {
    /// The user.
    pub user_id: String,
    /// The device.
    pub device_id: String,
}

/// A session that ends and leaves its device behind: its tokens go.
#[derive(Clone, Debug, Serialize)]
pub struct SessionEndRow {
    /// Whose it is.
    pub user_id: String,
    /// The session.
    pub session_id: String,
    /// When it ends, in milliseconds.
    pub ended_ms: i64,
}

/// An access token that makes way for the one that was refreshed from it, now that this one is
/// used. Its refresh token is spent, and what else was refreshed from it is void.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRemovalRow {
    /// Whose it is.
    pub user_id: String,
    /// The token's hash.
    pub token_hash: String,
    /// The token that takes its place. Where that one is gone already, the other stays.
    pub successor: String,
}
