//! Sends spans to the collector.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{CONTENT_TYPE, InvalidHeaderName, InvalidHeaderValue},
};
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, hyper::HyperClient};
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use prost::Message as _;
use stoa_base::Clock;
use stoa_config::{BaseUrl, Config};
use tokio::{
    runtime::{self, Runtime},
    time::Instant,
};

use super::conventions;

/// How long the collector may take to accept spans.
const LIMIT: Duration = Duration::from_secs(5);

/// The shortest time between two reports that spans cannot be sent.
const REPORT_INTERVAL: Duration = Duration::from_mins(5);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address is not valid.
    #[error("the address is not valid: {0}")]
    Endpoint(#[from] http::uri::InvalidUri),
    /// A header's name is not valid.
    #[error("the name of a header is not valid: {0}")]
    HeaderName(#[from] InvalidHeaderName),
    /// A header's value is not valid.
    #[error("the value of a header is not valid: {0}")]
    HeaderValue(#[from] InvalidHeaderValue),
    /// The certificates of this machine are missing, or no thread can be started.
    #[error("cannot prepare to send: {0}")]
    Machine(#[from] io::Error),
}

/// Sends spans by OTLP over HTTP.
#[derive(Debug)]
pub(super) struct Exporter {
    endpoint: Uri,
    headers: HeaderMap,
    client: Box<dyn HttpClient>,
    /// The runtime of the thread that sends spans.
    runtime: Option<Runtime>,
    server_name: String,
    node: Arc<OnceLock<i64>>,
    /// The origin of the spans, known when the first ones are sent.
    resource: OnceLock<ResourceAttributesWithSchema>,
    clock: Clock,
    losses: Mutex<Losses>,
}

/// The spans lost since the last successful send.
#[derive(Debug, Default)]
struct Losses {
    spans: usize,
    /// When the loss was last reported.
    reported: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(
        endpoint: &BaseUrl,
        config: &Config,
        node: Arc<OnceLock<i64>>,
        clock: Clock,
    ) -> Result<Self, TracesError> {
        let endpoint: Uri = format!("{}/v1/traces", endpoint.as_str()).parse()?;
        let mut headers = HeaderMap::new();
        for (name, value) in config.tracing.headers() {
            let mut value = HeaderValue::from_str(value)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client: Box<dyn HttpClient> = if endpoint.scheme_str() == Some("https") {
            let https = HttpsConnectorBuilder::new().with_native_roots()?.https_only();
            Box::new(HyperClient::new(https.enable_http1().build(), LIMIT, None))
        } else {
            Box::new(HyperClient::with_default_connector(LIMIT, None))
        };
        Ok(Self {
            endpoint,
            headers,
            client,
            runtime: Some(runtime::Builder::new_current_thread().enable_all().build()?),
            server_name: config.server_name.to_string(),
            node,
            resource: OnceLock::new(),
            clock,
            losses: Mutex::default(),
        })
    }

    fn resource(&self) -> &ResourceAttributesWithSchema {
        self.resource.get_or_init(|| {
            let resource = Resource::builder_empty()
                .with_service_name("stoa")
                .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                .with_attribute(KeyValue::new("matrix.server_name", self.server_name.clone()));
            let node = self.node.get().map(i64::to_string);
            let node = node.map(|node| KeyValue::new("service.instance.id", node));
            (&resource.with_attributes(node).build()).into()
        })
    }

    async fn send(&self, spans: Vec<SpanData>) -> Result<(), String> {
        let resource_spans = group_spans_by_resource_and_scope(spans, self.resource());
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let mut request = Request::post(self.endpoint.clone())
            .body(Bytes::from(body))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        let answer = self.client.send_bytes(request).await.map_err(|error| cause(&*error))?;
        if !answer.status().is_success() {
            return Err(format!("the collector answered {}", answer.status()));
        }
        Ok(())
    }

    /// Reports lost spans, at intervals, and once when sending works again.
    fn report(&self, spans: usize, sent: &Result<(), String>) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = sent {
            metrics::counter!("stoa_trace_spans_lost_total").increment(spans as u64);
            losses.spans += spans;
            let now = self.clock.monotonic();
            let is_due = |reported: Instant| now.duration_since(reported) >= REPORT_INTERVAL;
            if losses.reported.is_none_or(is_due) {
                losses.reported = Some(now);
                let (endpoint, spans) = (&self.endpoint, losses.spans);
                tracing::warn!(%endpoint, error, spans, "cannot send traces; they are lost");
            }
        } else {
            metrics::counter!("stoa_trace_spans_sent_total").increment(spans as u64);
            let Losses { spans, reported } = std::mem::take(&mut *losses);
            if reported.is_some() {
                tracing::info!(endpoint = %self.endpoint, lost = spans, "traces are sent again");
            }
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Looking up the collector's name cannot be cancelled. Stopping the server does not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, mut spans: Vec<SpanData>) -> OTelSdkResult {
        spans.iter_mut().for_each(conventions::apply);
        let number = spans.len();
        let Some(runtime) = &self.runtime else { return Err(OTelSdkError::AlreadyShutdown) };
        let sent = runtime.block_on(self.send(spans));
        self.report(number, &sent);
        sent.map_err(OTelSdkError::InternalFailure)
    }
}

/// The innermost cause of an error, which says more than that something failed.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
