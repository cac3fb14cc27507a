//! Traces of requests, sent to an OpenTelemetry collector.
//!
//! Ended spans wait in a queue, and a dedicated thread sends them. If the collector is slow or
//! gone, the queue fills up, and further spans are lost: no request ever waits.

mod conventions;
mod exporter;
mod sampled;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use stoa_base::{Clock, Random};
use stoa_config::{Config, Tracing};
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

pub(super) use self::exporter::TracesError;
use self::{exporter::Exporter, sampled::Sampled};

/// The capacity of the queue, in spans.
const QUEUE: usize = 8_192;

/// How many spans are sent at a time at most.
const BATCH: usize = 512;

/// How long a span waits at most for others to be sent with it.
const DELAY: Duration = Duration::from_secs(1);

/// How long sending the queued spans may take when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Sends traces.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
    node: Arc<OnceLock<i64>>,
}

impl Traces {
    /// Starts sending traces, if a collector is configured.
    pub(super) fn start(config: &Config) -> Result<Option<Self>, TracesError> {
        let Some(endpoint) = &config.tracing.otlp_endpoint else { return Ok(None) };
        let node = Arc::default();
        let exporter = Exporter::new(endpoint, config, Arc::clone(&node), Clock::system())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            // Spans that are not traced were filtered out before.
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(processor)
            .build();
        Ok(Some(Self { provider, node }))
    }

    /// The layer that makes traces of the sampled requests.
    pub(super) fn layer<S>(
        &self,
        config: &Tracing,
        random: Random,
    ) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("stoa"))
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Sampled::new(random, config.sample_one_in))
    }

    pub(super) fn set_node(&self, incarnation: i64) {
        // It is set once.
        let _ = self.node.set(incarnation);
    }

    pub(super) fn stop(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(STOP_LIMIT) {
            tracing::warn!(%error, "the stop did not wait for all traces to be sent");
        }
    }
}
