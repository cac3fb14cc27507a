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

/// All settings.
///
/// [`Default`] is the configuration without a file and variables. Serializing a configuration hides
/// its secrets, so the result cannot be loaded again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Stoa", description = "The configuration file of Stoa.")]
pub struct Config {
    /// The name after the colon in the IDs of this server's users and rooms, as in
    /// `@alice:example.com`.
    ///
    /// It can never be changed: the server refuses a database that was created for another name.
    #[serde(deserialize_with = "parse::server_name")]
    #[schemars(with = "String", example = "example.com")]
    pub server_name: OwnedServerName,

    /// The folder for the server's files. It is created if it does not exist.
    ///
    /// A relative path starts at the folder in which Stoa is started.
    #[serde(deserialize_with = "parse::path")]
    pub data_dir: PathBuf,

    /// The address at which clients reach this server from outside, if it is behind a reverse
    /// proxy.
    ///
    /// The server gives it to clients at `/.well-known/matrix/client`. If it is not set, clients
    /// find nothing there.
    #[schemars(example = "https://matrix.example.com")]
    pub public_base_url: Option<BaseUrl>,

    /// The addresses on which the server listens.
    ///
    /// Each setting takes one `address:port` or a list of them. An empty list turns a listener off.
    pub listen: Listen,

    /// How other Matrix servers find this one.
    pub federation: Federation,

    /// Application services: bridges and bots that act as many users.
    pub appservices: Appservices,

    /// The database, which stores all persistent data.
    pub database: Database,

    /// Settings for rooms created on this server.
    pub rooms: Rooms,

    /// How accounts are created.
    pub registration: Registration,

    /// What anyone can read without logging in.
    pub anonymous: Anonymous,

    /// Limits for each user and each address.
    ///
    /// A request above a rate is refused with `M_LIMIT_EXCEEDED` and the time to wait. With several
    /// nodes, the rates are for all nodes together.
    pub limits: Limits,

    /// The audit log: who did what to accounts, sessions and memberships.
    ///
    /// `docs/audit.md` says what is recorded and how to check it.
    pub audit: Audit,

    /// The server's own log, on standard error.
    pub log: Log,

    /// Traces: the path of requests through the server, for an OpenTelemetry collector.
    ///
    /// `docs/tracing.md` describes them. Nothing is collected while `otlp_endpoint` is not set.
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
