//! What an admin can configure about accounts.

use std::time::Duration;

/// The configuration of accounts.
#[derive(Clone)]
pub struct Options {
    /// Whether anyone may register.
    pub registration_enabled: bool,
    /// The secret that allows registering users and admins, if there is one.
    pub registration_shared_secret: Option<String>,
    /// How long a refreshable access token is valid. Others do not expire.
    pub access_token_lifetime: Duration,
    /// How long a session of user-interactive authentication is valid.
    pub interactive_auth_lifetime: Duration,
    /// How often an attacker may try to log in or register; `None` for no limits.
    pub limits: Option<AttemptLimits>,
    /// What one user may store.
    pub totals: Totals,
    /// The cost of hashing a password.
    pub password_cost: PasswordCost,
    /// How many passwords are hashed concurrently.
    pub password_workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registration_enabled: false,
            registration_shared_secret: None,
            access_token_lifetime: Duration::from_hours(1),
            interactive_auth_lifetime: Duration::from_hours(1),
            limits: Some(AttemptLimits::default()),
            totals: Totals::default(),
            password_cost: PasswordCost::default(),
            password_workers: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("registration_enabled", &self.registration_enabled)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What one user may store.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Account data, global and in all rooms, in bytes.
    pub account_data_bytes: i64,
    /// Types of account data in one room, and of global ones.
    pub account_data_types: i64,
    /// Devices.
    pub devices: i64,
    /// Filters.
    pub filters: i64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            account_data_bytes: 16 << 20,
            account_data_types: 1_000,
            devices: 500,
            filters: 1_000,
        }
    }
}

/// How many attempts are allowed within a window of time, counted across all nodes.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// The length of a window.
    pub window: Duration,
    /// Failed logins of one user.
    pub failed_logins_per_user: u32,
    /// Failed logins from one address. A whole company may share one address.
    pub failed_logins_per_address: u32,
    /// Registrations from one address.
    pub registrations_per_address: u32,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(10),
            failed_logins_per_user: 10,
            failed_logins_per_address: 100,
            registrations_per_address: 100,
        }
    }
}

/// The argon2id parameters for hashing a password.
#[derive(Clone, Copy, Debug)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes, which could be computed in parallel.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// OWASP's minimum.
    fn default() -> Self {
        Self { memory_kib: 19 * 1_024, passes: 2, lanes: 1 }
    }
}
