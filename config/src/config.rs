use std::path::PathBuf;

use ruma::{OwnedServerName, owned_server_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    anonymous::Anonymous,
    appservices::Appservices,
    audit::Audit,
    base_url::BaseUrl,
    database::{Database, DatabaseUrl},
    federation::Federation,
    limits::Limits,
    listen::Listen,
    log::Log,
    parse,
    registration::Registration,
    rooms::Rooms,
    tracing::Tracing,
};

/// Everything that can be set.
///
/// [`Default`] gives what holds without a file and without variables. Serializing a configuration
/// hides its secrets, so the result cannot be loaded again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Stoa", description = "The configuration file of Stoa.")]
pub struct Config {
    /// The name that stands after the colon in the ids of this server's users and rooms, as in
    /// `@alice:example.com`.
    ///
    /// It can never be changed: a database made for another name is refused.
    #[serde(deserialize_with = "parse::server_name")]
    #[schemars(with = "String", example = "example.com")]
    pub server_name: OwnedServerName,

    /// The folder for the files of this server, made when it is missing.
    ///
    /// A relative path is taken from the folder in which Stoa is started.
    #[serde(deserialize_with = "parse::path")]
    pub data_dir: PathBuf,

    /// The address at which clients reach this server from outside, where it stands behind a
    /// reverse proxy.
    ///
    /// It is what `/.well-known/matrix/client` tells clients. While it is not set, clients find
    /// nothing there.
    #[schemars(example = "https://matrix.example.com")]
    pub public_base_url: Option<BaseUrl>,

    /// The addresses at which the server waits for connections.
    ///
    /// Each setting takes one `address:port` or a list of them; an empty list turns a listener off.
    pub listen: Listen,

    /// How other Matrix servers find this one.
    pub federation: Federation,

    /// Application services: bridges and bots that act as many users.
    pub appservices: Appservices,

    /// Where everything that must last is kept.
    pub database: Database,

    /// What holds for rooms that are made here.
    pub rooms: Rooms,

    /// How accounts come to be.
    pub registration: Registration,

    /// What may be read by whoever reaches the server, without logging in.
    pub anonymous: Anonymous,

    /// What one user or one address may ask of the server.
    ///
    /// Where something comes too often, the answer is `M_LIMIT_EXCEEDED` with the time to wait.
    /// With several nodes the rates hold for all of them together.
    pub limits: Limits,

    /// The audit log: who did what to accounts, sessions and memberships.
    ///
    /// `docs/audit.md` says what is recorded and how to check it.
    pub audit: Audit,

    /// What the server writes about itself, to standard error.
    pub log: Log,

    /// Traces: how requests went through the server, for a collector of OpenTelemetry.
    ///
    /// `docs/tracing.md` says what they hold. Nothing is collected while `otlp_endpoint` is not set.
    pub tracing: Tracing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_name: owned_server_name!("localhost"),
            data_dir: PathBuf::from("./stoa-data"),
            public_base_url: None,
            listen: Listen::default(),
            federation: Federation::default(),
            appservices: Appservices::default(),
            database: Database::default(),
            rooms: Rooms::default(),
            registration: Registration::default(),
            anonymous: Anonymous::default(),
            limits: Limits::default(),
            audit: Audit::default(),
            log: Log::default(),
            tracing: Tracing::default(),
        }
    }
}

impl Config {
    /// The database to use: `database.url`, or the SQLite file `stoa.db` in the data folder.
    pub fn database_url(&self) -> DatabaseUrl {
        self.database
            .url
            .clone()
            .unwrap_or_else(|| DatabaseUrl::Sqlite(self.data_dir.join("stoa.db")))
    }
}
