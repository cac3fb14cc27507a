//! The configuration of Stoa: the settings, their defaults, and the messages about errors.
//!
//! [`Config::load`] reads one TOML file and the `STOA_` variables of the environment, lays them
//! over the defaults and returns typed sections. An unknown key or variable is an error. All errors
//! are reported at once, each with its file and line or its variable.
//!
//! The doc comment of a field is what an admin reads about that setting: [`json_schema`],
//! [`reference_markdown`] and [`sample_toml`] are generated from the types, and a test keeps the
//! copies in the repository equal to them. The first paragraph of such a comment must therefore
//! make sense on its own and describe the setting, not the code.

mod anonymous;
mod appservices;
mod audit;
mod base_url;
mod config;
mod database;
mod error;
mod federation;
mod kind;
mod layout;
mod limits;
mod listen;
mod load;
mod log;
mod parse;
mod reference;
mod registration;
mod rooms;
mod sample;
mod schema;
mod secret;
mod settings;
mod suggest;
mod tracing;

pub use self::{
    anonymous::Anonymous,
    appservices::Appservices,
    audit::Audit,
    base_url::BaseUrl,
    config::Config,
    database::{Database, DatabaseUrl, PostgresUrl},
    error::{ConfigError, ConfigErrors},
    federation::Federation,
    limits::{Limits, Rate, Totals},
    listen::Listen,
    log::{Log, LogFilter, LogFormat},
    reference::reference_markdown,
    registration::Registration,
    rooms::{Rooms, SUPPORTED_ROOM_VERSIONS},
    sample::sample_toml,
    schema::json_schema,
    secret::Secret,
    tracing::Tracing,
};
