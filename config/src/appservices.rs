use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse;

/// Application services: bridges and bots that act as many users.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Appservices {
    /// The registration files of application services, as supplied by each service.
    ///
    /// Relative paths start at the folder in which Stoa is started. The server does not start if a
    /// file has an error; `stoa check-config` shows all errors. This version checks the files but
    /// does not serve application services yet.
    #[serde(deserialize_with = "parse::paths")]
    #[schemars(schema_with = "parse::one_or_many", example = ["/etc/stoa/irc-bridge.yaml"])]
    pub registrations: Vec<PathBuf>,
}
