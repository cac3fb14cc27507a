//! Parses the text of settings.
//!
//! Errors say only what is allowed. The loader adds what was found, since it knows whether that may
//! be shown.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use ruma::{OwnedServerName, ServerName};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

/// Reads a string and converts it to a value with `parse`.
pub(crate) fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(expected))
}

pub(crate) fn server_name<'de, D: Deserializer<'de>>(d: D) -> Result<OwnedServerName, D::Error> {
    let expected = "a name such as \"example.com\" or \"matrix.example.com:8448\"";
    text(d, expected, |text| ServerName::parse(text).ok())
}

pub(crate) fn host<'de, D: Deserializer<'de>>(d: D) -> Result<Option<OwnedServerName>, D::Error> {
    let expected = "a host with or without a port, such as \"matrix.example.com:443\"";
    text(d, expected, |text| {
        let is_reachable = |name: &OwnedServerName| name.port() != Some(0);
        ServerName::parse(text).ok().filter(is_reachable).map(Some)
    })
}

pub(crate) fn path<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
    text(d, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(crate) fn paths<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
    list(d, "paths", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(crate) fn addresses<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<SocketAddr>, D::Error> {
    let expected = "addresses with ports such as \"127.0.0.1:8008\" or \"[::]:8008\"";
    list(d, expected, |text| text.parse().ok())
}

pub(crate) fn some_addresses<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<SocketAddr>, D::Error> {
    let addresses = addresses(d)?;
    if addresses.is_empty() {
        return Err(D::Error::custom("at least one address such as \"127.0.0.1:8008\""));
    }
    Ok(addresses)
}

pub(crate) fn networks<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
    let expected = "addresses or networks such as \"10.0.0.7\" or \"10.0.0.0/8\"";
    list(d, expected, |text| {
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    })
}

/// The schema of values that [`list`] reads.
pub(crate) fn one_or_many(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "array"], "items": { "type": "string" } })
}

fn list<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    let values = texts.iter().map(|text| parse(text));
    values.collect::<Option<_>>().ok_or_else(|| D::Error::custom(expected))
}
