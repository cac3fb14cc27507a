//! What the server writes about itself: lines to standard error, and, where a collector is set,
//! traces.

mod lines;
mod traces;

use std::{borrow::Cow, panic};

use stoa_base::Random;
use stoa_config::Config;
use tracing_subscriber::{EnvFilter, filter::ParseError, prelude::*};

use self::traces::Traces;

/// Why nothing can be logged as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is none.
    #[error("`log.filter`: {0}")]
    Filter(#[from] ParseError),
    /// No traces can be sent.
    #[error("`tracing.otlp_endpoint`: {0}")]
    Traces(#[from] traces::TracesError),
}

/// What is written until this is stopped.
#[derive(Debug)]
pub struct Logging {
    traces: Option<Traces>,
}

impl Logging {
    /// Begins to write, and makes panics lines of the log, which carry the id of the request in
    /// which they happened.
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

    /// From now on, traces say that they come from this run of a node.
    pub fn set_node(&self, incarnation: i64) {
        if let Some(traces) = &self.traces {
            traces.set_node(incarnation);
        }
    }

    /// Sends the traces that wait, for a few seconds at most. It blocks the thread.
    pub fn stop(self) {
        if let Some(traces) = self.traces {
            traces.stop();
        }
    }
}

/// What decides on events, and says so at `info` several times for each of them.
const TALKATIVE: &str = "ruma_state_res";

/// The filter, under which `info` is what an admin wants to read, unless it says otherwise.
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
    fn a_line_for_each_event_is_written_only_where_it_is_asked_for() {
        assert_eq!(directives("info"), "info,ruma_state_res=warn");
        assert_eq!(directives("info,stoa_sync=debug"), "info,stoa_sync=debug,ruma_state_res=warn");
        for asked_for in ["debug", "warn", "off", "info,ruma_state_res=info"] {
            assert_eq!(directives(asked_for), asked_for);
        }
    }
}
