//! The log lines.

use std::io::{IsTerminal as _, stderr};

use stoa_config::LogFormat;
use tracing::{
    Event, Level, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{self, format::FmtSpan},
    layer::Context,
    registry::LookupSpan,
};

/// Writes the lines to standard error.
pub(super) fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(stderr).with_span_events(FmtSpan::CLOSE);
    match format {
        LogFormat::Text => Lines(lines.with_ansi(stderr().is_terminal())).boxed(),
        LogFormat::Json => Lines(lines.json().flatten_event(true)).boxed(),
    }
}

/// Writes a line for each event, and for each span of level `debug` when it ends. A request, whose
/// span has level `info`, has a more detailed line of its own.
struct Lines<L>(L);

/// Whether a span gets a line.
fn has_line<S>(id: &Id, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    context.metadata(id).is_some_and(|metadata| *metadata.level() > Level::INFO)
}

impl<S, L> Layer<S> for Lines<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        self.0.on_event(event, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if has_line(id, &context) {
            self.0.on_enter(id, context);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if has_line(id, &context) {
            self.0.on_exit(id, context);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if has_line(&id, &context) {
            self.0.on_close(id, context);
        }
    }
}
