//! What the server writes about itself.

use std::{io::IsTerminal as _, panic};

use stoa_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*};

/// Begins to write lines to standard error, and makes panics lines of the log, which carry the id
/// of the request in which they happened.
pub fn start(config: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(config.filter.as_str())?;
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
