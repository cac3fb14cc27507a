use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse;

/// Application services: bridges and bots that act as many users.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Appservices {
    /// The registration files of application services, which come with them.
    ///
    /// A relative path is taken from the folder in which Stoa is started. The server does not start
    /// with a file that is wrong; `stoa check-config` says what is wrong with it. This version checks
    /// the files and does not serve application services.
    #[serde(deserialize_with = "parse::paths")]
    #[schemars(schema_with = "parse::one_or_many", example = ["/etc/stoa/irc-bridge.yaml"])]
    pub registrations: Vec<PathBuf>,
}
