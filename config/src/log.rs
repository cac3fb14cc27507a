use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::parse;

/// The server's own log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Lines for people (`text`), or one JSON object per line for programs (`json`).
    pub format: LogFormat,

    /// How much is logged: a level, and optionally levels for parts of the program, as in
    /// `info,stoa_sync=debug`. The levels are `error`, `warn`, `info`, `debug`, `trace` and `off`.
    ///
    /// `info,stoa=debug` follows each request through the server, down to each statement;
    /// `docs/tracing.md` shows how that looks.
    #[schemars(example = "info,stoa_sync=debug")]
    pub filter: LogFilter,

    /// How long a request may take, in milliseconds, before a warning says how long it took and
    /// where the time went. 0 turns the warnings off.
    ///
    /// The time for which a sync waits for news does not count, nor does receiving the request's
    /// body.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub slow_request_ms: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: LogFilter::default(), slow_request_ms: 1_000 }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A level, and levels for modules of the program: `LEVEL` and `MODULE=LEVEL`, with commas between
/// them.
///
/// This is the syntax common to the filters of the `tracing` crates, except for the bare module
/// name: with it, a misspelled level would be a valid filter that logs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct LogFilter(String);

impl LogFilter {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// The filter as the admin wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let is_level = |level: &str| Self::LEVELS.contains(&level);
        let is_module = |module: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
            !module.is_empty() && module.chars().all(plain)
        };
        let valid = text.split(',').all(|directive| match directive.split_once('=') {
            None => is_level(directive),
            Some((module, level)) => is_module(module) && is_level(level),
        });
        valid.then(|| Self(text.to_owned()))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a level (off, error, warn, info, debug, trace) \
                        and MODULE=LEVEL, with commas in between";
        parse::text(deserializer, expected, Self::parse)
    }
}
