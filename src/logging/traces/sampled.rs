//! Which spans become part of a trace.

use std::num::NonZeroU32;

use stoa_base::Random;
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// The spans with which a trace may begin.
const ROOTS: [&str; 2] = ["request", "job"];

/// Chooses some requests and jobs at random, and all that happens within them.
///
/// What is not chosen is not even made, unless the log has lines of it.
pub(super) struct Sampled {
    random: Random,
    one_in: u64,
}

impl Sampled {
    pub(super) fn new(random: Random, one_in: NonZeroU32) -> Self {
        Self { random, one_in: one_in.get().into() }
    }
}

/// Whether something may be part of a trace. Only our own spans are: their fields are chosen, while
/// lines of the log may hold addresses of clients and texts of errors, which stay on this machine.
fn is_eligible(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with("stoa")
}

impl<S> Filter<S> for Sampled
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        if !is_eligible(metadata) {
            return false;
        }
        if ROOTS.contains(&metadata.name()) {
            return self.one_in == 1 || self.random.u64().is_multiple_of(self.one_in);
        }
        // Only spans that were chosen are seen here.
        context.lookup_current().is_some()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_eligible(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}
