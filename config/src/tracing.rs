use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{BaseUrl, Secret, parse};

/// Traces: the path of requests through the server, for an OpenTelemetry collector.
///
/// `docs/tracing.md` describes them. Nothing is collected while `otlp_endpoint` is not set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// The collector to which traces are sent with OTLP over HTTP, at its path `/v1/traces`.
    #[schemars(example = "http://localhost:4318")]
    pub otlp_endpoint: Option<BaseUrl>,

    /// Headers for the collector, as `NAME=VALUE` separated by commas.
    #[serde(default, deserialize_with = "headers")]
    #[schemars(example = "authorization=Bearer TOKEN")]
    pub otlp_headers: Option<Secret>,

    /// One in this many requests is traced, chosen at random. With 1, all requests are traced.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sample_one_in: NonZeroU32,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp_endpoint: None, otlp_headers: None, sample_one_in: NonZeroU32::MIN }
    }
}

fn headers<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Secret>, D::Error> {
    let expected = "headers such as \"authorization=Bearer TOKEN\", with commas in between";
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_header = |header: &str| {
        header.split_once('=').is_some_and(|(name, value)| {
            let (name, value) = (name.trim(), value.trim());
            !name.is_empty()
                && name.chars().all(is_name)
                && !value.is_empty()
                && value.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        })
    };
    parse::text(d, expected, |text| {
        text.split(',').all(is_header).then(|| Some(Secret::from(text.to_owned())))
    })
}

impl Tracing {
    /// The names and values of the headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.otlp_headers.as_ref().map_or("", Secret::expose);
        headers.split(',').filter_map(|header| header.split_once('=')).map(trimmed)
    }
}

fn trimmed<'a>((name, value): (&'a str, &'a str)) -> (&'a str, &'a str) {
    (name.trim(), value.trim())
}
