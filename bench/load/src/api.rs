//! The few operations of the client-server API that the scenarios use. Each checks its answer,
//! because a fast wrong answer is no success.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use crate::connection::{Connection, Failure, Reply};

/// An account, logged in on one device.
#[derive(Clone, Deserialize)]
pub(crate) struct Account {
    pub(crate) user_id: String,
    pub(crate) access_token: String,
}

/// The parts of the answer of `/sync` that the scenarios use.
#[derive(Deserialize)]
pub(crate) struct Sync {
    pub(crate) next_batch: String,
    #[serde(default)]
    pub(crate) rooms: SyncRooms,
}

#[derive(Default, Deserialize)]
pub(crate) struct SyncRooms {
    #[serde(default)]
    pub(crate) join: HashMap<String, SyncRoom>,
}

#[derive(Deserialize)]
pub(crate) struct SyncRoom {
    #[serde(default)]
    pub(crate) timeline: Timeline,
}

#[derive(Default, Deserialize)]
pub(crate) struct Timeline {
    #[serde(default)]
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) limited: bool,
}

#[derive(Deserialize)]
pub(crate) struct Event {
    #[serde(rename = "event_id")]
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) content: Content,
}

/// Marks the messages of the scenarios.
#[derive(Default, Deserialize)]
pub(crate) struct Content {
    /// The number of the message in the fan-out that it belongs to.
    #[serde(default, rename = "stoa.bench.number")]
    pub(crate) number: Option<usize>,
}

impl Connection {
    /// Logs in on a new device.
    pub(crate) async fn login(
        &mut self,
        user_id: &str,
        password: &str,
    ) -> Result<Account, Failure> {
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user_id },
            "password": password,
        });
        self.call(Method::POST, "/_matrix/client/v3/login", None, Some(body.to_string()))
            .await?
            .parse()
    }

    /// Creates a public room, and returns its ID.
    pub(crate) async fn create_room(&mut self, account: &Account) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Created {
            room_id: String,
        }
        let body = json!({ "preset": "public_chat", "name": "Load" }).to_string();
        let path = "/_matrix/client/v3/createRoom";
        let reply = self.call(Method::POST, path, Some(&account.access_token), Some(body)).await?;
        Ok(reply.parse::<Created>()?.room_id)
    }

    /// Joins a room, and returns how long that took.
    pub(crate) async fn join(
        &mut self,
        account: &Account,
        room_id: &str,
    ) -> Result<Duration, Failure> {
        #[derive(Deserialize)]
        struct Joined {
            room_id: String,
        }
        let path = format!("/_matrix/client/v3/rooms/{}/join", encode(room_id));
        let token = Some(&*account.access_token);
        let reply = self.call(Method::POST, &path, token, Some("{}".to_owned())).await?;
        if reply.parse::<Joined>()?.room_id == room_id {
            Ok(reply.elapsed)
        } else {
            Err(Failure::Unexpected("joined another room".to_owned()))
        }
    }

    /// Sends a text message, and returns its event ID and how long that took.
    pub(crate) async fn send(
        &mut self,
        account: &Account,
        room_id: &str,
        transaction: &str,
        number: Option<usize>,
    ) -> Result<(String, Duration), Failure> {
        #[derive(Deserialize)]
        struct Sent {
            event_id: String,
        }
        let room_id = encode(room_id);
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{transaction}");
        let text = "A hundred bytes of text, about as much as people write in one message to one another at work each day";
        let mut body = json!({ "msgtype": "m.text", "body": text });
        if let Some(number) = number {
            body["stoa.bench.number"] = number.into();
        }
        let token = Some(&*account.access_token);
        let reply = self.call(Method::PUT, &path, token, Some(body.to_string())).await?;
        Ok((reply.parse::<Sent>()?.event_id, reply.elapsed))
    }

    /// Syncs from `since`; without it, makes an initial sync.
    pub(crate) async fn sync(
        &mut self,
        account: &Account,
        since: Option<&str>,
        timeout: Duration,
        filter: &str,
    ) -> Result<(Sync, Reply), Failure> {
        let mut path = format!("/_matrix/client/v3/sync?timeout={}", timeout.as_millis());
        for (key, value) in [("since", since.unwrap_or_default()), ("filter", filter)] {
            if !value.is_empty() {
                path = format!("{path}&{key}={}", encode(value));
            }
        }
        let reply = self.get(&path, &account.access_token).await?;
        Ok((reply.parse()?, reply))
    }

    /// The IDs of all events of a room, newest first.
    pub(crate) async fn history(
        &mut self,
        account: &Account,
        room_id: &str,
    ) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            chunk: Vec<Event>,
            end: Option<String>,
        }
        let room_id = encode(room_id);
        let (mut ids, mut from) = (Vec::new(), String::new());
        loop {
            let path = format!("/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=500{from}");
            let page: Page = self.get(&path, &account.access_token).await?.parse()?;
            ids.extend(page.chunk.into_iter().map(|event| event.id));
            match page.end {
                Some(end) => from = format!("&from={}", encode(&end)),
                None => return Ok(ids),
            }
        }
    }

    /// How many have joined a room.
    pub(crate) async fn count_members(
        &mut self,
        account: &Account,
        room_id: &str,
    ) -> Result<usize, Failure> {
        #[derive(Deserialize)]
        struct Members {
            joined: serde_json::Map<String, serde_json::Value>,
        }
        let path = format!("/_matrix/client/v3/rooms/{}/joined_members", encode(room_id));
        let reply = self.get(&path, &account.access_token).await?;
        Ok(reply.parse::<Members>()?.joined.len())
    }
}

/// Percent-encodes a part of a path or of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_json_are_encoded() {
        assert_eq!(encode("!a-b_c:ex.org"), "%21a-b_c%3Aex.org");
        assert_eq!(encode("{\"é\"}"), "%7B%22%C3%A9%22%7D");
    }

    #[test]
    fn an_empty_sync_has_no_rooms() {
        let sync: Sync = serde_json::from_str(r#"{"next_batch":"s1","presence":{}}"#).unwrap();
        assert!(sync.rooms.join.is_empty());
        assert!(serde_json::from_str::<Sync>("{}").is_err());
    }
}
