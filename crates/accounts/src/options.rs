//! What an admin can choose about accounts.

use std::time::Duration;

/// How accounts behave.
#[derive(Clone)]
pub struct Options {
    /// Whether anybody may register.
    pub registration_enabled: bool,
    /// Who knows this secret may register users and admins.
    pub registration_shared_secret: Option<String>,
    /// How long an access token that can be refreshed is good. Others do not expire.
    pub access_token_lifetime: Duration,
    /// How long a session of user-interactive authentication is good.
    pub interactive_auth_lifetime: Duration,
    /// How often may be tried what an attacker would try often; none for no limits.
    pub limits: Option<AttemptLimits>,
    /// What one user may have.
    pub totals: Totals,
    /// What hashing a password costs.
    pub password_cost: PasswordCost,
    /// How many passwords are hashed at the same time.
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

/// What one user may have.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Account data over all rooms, in bytes.
    pub account_data_bytes: i64,
    /// Types of account data for one room, or in general.
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

/// How often something may be tried within a window of time, counted over all nodes.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// How long a window is.
    pub window: Duration,
    /// Failed log-ins of one user.
    pub failed_logins_per_user: u32,
    /// Failed log-ins from one address. A company's site may have only one.
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

/// What hashing a password costs whoever does it.
#[derive(Clone, Copy, Debug)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes that could be worked on at the same time.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// What OWASP asks for at the least.
    fn default() -> Self {
        Self { memory_kib: 19 * 1_024, passes: 2, lanes: 1 }
    }
}
