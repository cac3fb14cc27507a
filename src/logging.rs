//! The server's log lines on standard error, and, if a collector is configured, its traces.

mod lines;
mod traces;

use std::{borrow::Cow, panic};

use stoa_base::Random;
use stoa_config::Config;
use tracing_subscriber::{EnvFilter, filter::ParseError, prelude::*};

use self::traces::Traces;

/// Why logging cannot start as configured.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be parsed.
    #[error("`log.filter`: {0}")]
    Filter(#[from] ParseError),
    /// Traces cannot be sent.
    #[error("`tracing.otlp_endpoint`: {0}")]
    Traces(#[from] traces::TracesError),
}

/// Logging and tracing, until this is stopped.
#[derive(Debug)]
pub struct Logging {
    traces: Option<Traces>,
}

impl Logging {
    /// Starts logging. Panics become log lines with the ID of the request in which they happened.
    pub fn start(config: &Config, random: Random) -> Result<Self, LoggingError> {
        let filter = EnvFilter::builder().parse(directives(config.log.filter.as_str()))?;
        let lines = lines::lines(config.log.format).with_filter(filter);
        let traces = Traces::start(config)?;
        let spans = traces.as_ref().map(|traces| traces.layer(&config.tracing, random));
        tracing_subscriber::registry().with(lines).with(spans).init();
        panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            let message = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(place, message, "panic");
        }));
        Ok(Self { traces })
    }

    /// Marks traces from now on as coming from this run of the node.
    pub fn set_node(&self, incarnation: i64) {
        if let Some(traces) = &self.traces {
            traces.set_node(incarnation);
        }
    }

    /// Sends the queued traces, for a few seconds at most. It blocks the thread.
    pub fn stop(self) {
        if let Some(traces) = self.traces {
            traces.stop();
        }
    }
}

/// A target in ruma that logs several lines at `info` for each event that it authorizes.
const TALKATIVE: &str = "ruma_state_res";

/// The filter, with the targets that are too noisy at `info` turned down unless the setting names
/// them.
fn directives(filter: &str) -> Cow<'_, str> {
    if filter.split(',').any(|directive| directive == "info") && !filter.contains(TALKATIVE) {
        return format!("{filter},{TALKATIVE}=warn").into();
    }
    filter.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruma_logs_each_event_only_if_asked_to() {
        assert_eq!(directives("info"), "info,ruma_state_res=warn");
        assert_eq!(directives("info,stoa_sync=debug"), "info,stoa_sync=debug,ruma_state_res=warn");
        for asked_for in ["debug", "warn", "off", "info,ruma_state_res=info"] {
            assert_eq!(directives(asked_for), asked_for);
        }
    }
}
