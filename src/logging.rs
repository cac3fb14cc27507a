//! What the server writes about itself.

use std::{borrow::Cow, io::IsTerminal as _, panic};

use stoa_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*};

/// Begins to write lines to standard error, and makes panics lines of the log, which carry the id
/// of the request in which they happened.
pub fn start(config: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(directives(config.filter.as_str()))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
    Ok(())
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
