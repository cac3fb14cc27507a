use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{BaseUrl, Secret, parse};

/// Traces: how requests went through the server, for a collector of OpenTelemetry.
///
/// `docs/tracing.md` says what they hold. Nothing is collected while `otlp_endpoint` is not set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// The collector to which traces are sent, by OTLP over HTTP. They go to `/v1/traces` there.
    #[schemars(example = "http://localhost:4318")]
    pub otlp_endpoint: Option<BaseUrl>,

    /// Headers for the collector, as `NAME=VALUE` with commas between them.
    #[serde(default, deserialize_with = "headers")]
    #[schemars(example = "authorization=Bearer TOKEN")]
    pub otlp_headers: Option<Secret>,

    /// One request in how many is traced, chosen at random. With 1, every request is.
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
    /// The headers for the collector, by name.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = self.otlp_headers.as_ref().map_or("", Secret::expose);
        headers.split(',').filter_map(|header| header.split_once('=')).map(trimmed)
    }
}

fn trimmed<'a>((name, value): (&'a str, &'a str)) -> (&'a str, &'a str) {
    (name.trim(), value.trim())
}
