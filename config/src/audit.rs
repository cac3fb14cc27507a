use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The audit log: who did what to accounts, sessions and memberships.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// How often the head of the audit chain is written to the log if it has changed, in minutes.
    #[schemars(range(min = 1, max = 1_440))]
    pub head_interval_minutes: NonZeroU32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { head_interval_minutes: NonZeroU32::new(60).unwrap_or(NonZeroU32::MIN) }
    }
}
