//! A device that syncs.

use std::time::Duration;

use ruma::{OwnedRoomId, api::client::filter::FilterDefinition};
use serde_json::{Value, json};
use stoa_base::{Allowance, DeviceKey};
use stoa_rooms::tokens::SyncToken;
use stoa_sync::{Reader, SyncError, v3};

use crate::site::{Site, user_id};

/// The phone of a user.
pub(crate) fn phone(name: &str) -> DeviceKey {
    DeviceKey::new(&user_id(name), "PHONE".into(), 0)
}

/// A device, with its sync token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) reader: Reader,
    pub(crate) since: Option<SyncToken>,
    pub(crate) filter: FilterDefinition,
    pub(crate) full_state: bool,
    pub(crate) use_state_after: bool,
}

impl Client {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            reader: Reader::new(&user_id(name), phone(name)),
            since: None,
            filter: FilterDefinition::default(),
            full_state: false,
            use_state_after: false,
        }
    }

    pub(crate) fn with_filter(name: &str, filter: Value) -> Self {
        Self { filter: serde_json::from_value(filter).unwrap(), ..Self::new(name) }
    }

    /// Syncs without waiting, and keeps the new token.
    pub(crate) async fn sync(&mut self, site: &Site) -> Value {
        site.catch_up().await;
        self.wait(site, Duration::ZERO).await
    }

    /// Syncs, waiting for news, and keeps the new token.
    pub(crate) async fn wait(&mut self, site: &Site, timeout: Duration) -> Value {
        let answer = v3::sync(&site.sources, &self.reader, self.request(timeout)).await.unwrap();
        self.since = Some(answer.next_batch.parse().unwrap());
        serde_json::to_value(&answer).unwrap()
    }

    /// Whether putting the next answer together takes no more than this many bytes. The client does
    /// not keep that answer.
    pub(crate) async fn fits(&self, site: &Site, bytes: u64) -> bool {
        site.catch_up().await;
        let reader = self.reader.clone().within(Allowance::new(bytes));
        match v3::sync(&site.sources, &reader, self.request(Duration::ZERO)).await {
            Ok(_) => true,
            Err(SyncError::Exceeded(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn request(&self, timeout: Duration) -> v3::Request<'_> {
        v3::Request {
            since: self.since,
            filter: &self.filter,
            full_state: self.full_state,
            use_state_after: self.use_state_after,
            timeout,
        }
    }
}

/// The news of a room in a section.
pub(crate) fn room<'a>(answer: &'a Value, section: &str, room: &OwnedRoomId) -> &'a Value {
    &answer["rooms"][section][room.as_str()]
}

pub(crate) fn joined<'a>(answer: &'a Value, id: &OwnedRoomId) -> &'a Value {
    room(answer, "join", id)
}

/// A short form of each event in a list: the body of a message, or the type and state key.
pub(crate) fn brief(events: &Value) -> Vec<String> {
    let events = events["events"].as_array().expect("a list of events");
    events
        .iter()
        .map(|event| match (event["state_key"].as_str(), event["type"].as_str().unwrap()) {
            (Some(key), "m.room.member") => {
                let user = key.strip_prefix('@').unwrap().split(':').next().unwrap();
                format!("{user}:{}", event["content"]["membership"].as_str().unwrap())
            }
            (Some(key), kind) => {
                let key = if key.is_empty() { String::new() } else { format!("/{key}") };
                let value = match event["content"]["v"] {
                    Value::Null => String::new(),
                    ref value => format!("={value}"),
                };
                format!("{}{key}{value}", kind.trim_start_matches("m.").trim_start_matches("room."))
            }
            (None, "m.room.message") => event["content"]["body"].as_str().unwrap().to_owned(),
            (None, kind) => kind.to_owned(),
        })
        .collect()
}

/// Whether there is no news.
pub(crate) fn is_empty(answer: &Value) -> bool {
    *answer == json!({ "next_batch": answer["next_batch"] })
}
