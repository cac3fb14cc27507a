//! How the text of a setting becomes its value.
//!
//! Errors say only what is allowed. What was found is added by the loader, which knows whether it
//! may be shown.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use ruma::{OwnedServerName, RoomVersionId, ServerName};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::{SUPPORTED_ROOM_VERSIONS, Secret};

/// Reads a string and makes a value of it with `parse`.
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

pub(crate) fn host_and_port<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<OwnedServerName>, D::Error> {
    let expected = "a host and a port such as \"matrix.example.com:443\"";
    text(d, expected, |text| {
        let has_port = |name: &OwnedServerName| name.port().is_some_and(|port| port > 0);
        ServerName::parse(text).ok().filter(has_port).map(Some)
    })
}

pub(crate) fn headers<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Secret>, D::Error> {
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
    text(d, expected, |text| {
        text.split(',').all(is_header).then(|| Some(Secret::from(text.to_owned())))
    })
}

pub(crate) fn path<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
    text(d, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(crate) fn paths<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
    list(d, "paths", |text| (!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(crate) fn room_version<'de, D: Deserializer<'de>>(d: D) -> Result<RoomVersionId, D::Error> {
    text(d, "a supported room version", |text| {
        SUPPORTED_ROOM_VERSIONS.into_iter().find(|version| version.as_str() == text)
    })
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

/// The schema of what [`list`] reads.
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
