//! Which spans become part of a trace.

use std::num::NonZeroU32;

use stoa_base::Random;
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// The spans that can be the root of a trace.
const ROOTS: [&str; 2] = ["request", "job"];

/// Selects requests and jobs at random, with everything that happens within them.
///
/// Other spans are not even created, unless the log writes lines for them.
pub(super) struct Sampled {
    random: Random,
    one_in: u64,
}

impl Sampled {
    pub(super) fn new(random: Random, one_in: NonZeroU32) -> Self {
        Self { random, one_in: one_in.get().into() }
    }
}

/// Whether something can be part of a trace: only our own spans can. Their fields were chosen for
/// it. Log lines can contain clients' addresses and the texts of errors, and stay on this machine.
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
        // Only sampled spans arrive here.
        context.lookup_current().is_some()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_eligible(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}
