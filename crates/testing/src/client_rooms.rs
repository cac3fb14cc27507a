//! Short methods with which a test client does what users do in rooms.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::TestClient;

/// Makes transaction IDs unique.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl TestClient {
    /// Creates a room, and returns its ID.
    pub async fn create_room(&self, request: Value) -> String {
        let created = self.post("/_matrix/client/v3/createRoom", request).await.ok();
        created["room_id"].as_str().expect("a room ID").to_owned()
    }

    /// Creates a room that everybody can join.
    pub async fn create_public_room(&self) -> String {
        self.create_room(json!({ "preset": "public_chat" })).await
    }

    /// Joins a room by its ID.
    pub async fn join(&self, room: &str) {
        self.post(&format!("/_matrix/client/v3/join/{}", encode(room)), json!({})).await.ok();
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &str) {
        self.post(&in_room(room, "leave"), json!({})).await.ok();
    }

    /// Invites a user to a room.
    pub async fn invite(&self, room: &str, user_id: &str) {
        self.post(&in_room(room, "invite"), json!({ "user_id": user_id })).await.ok();
    }

    /// Sends a text message, and returns the event's ID.
    pub async fn send(&self, room: &str, text: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.send_event(room, "m.room.message", content).await
    }

    /// Sends an event, and returns its ID.
    pub async fn send_event(&self, room: &str, kind: &str, content: Value) -> String {
        let txn_id = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = in_room(room, &format!("send/{kind}/t{txn_id}"));
        event_id(&self.put(&path, content).await.ok())
    }

    /// Sends a state event, and returns its ID.
    pub async fn set_state(&self, room: &str, kind: &str, key: &str, content: Value) -> String {
        let path = in_room(room, &format!("state/{kind}/{}", encode(key)));
        event_id(&self.put(&path, content).await.ok())
    }

    /// The content of a state event of the room.
    pub async fn state(&self, room: &str, kind: &str, key: &str) -> Value {
        let path = in_room(room, &format!("state/{kind}/{}", encode(key)));
        self.get(&path).await.ok()
    }

    /// Redacts an event, and returns the ID of the redaction.
    pub async fn redact(&self, room: &str, event: &str) -> String {
        let txn_id = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = in_room(room, &format!("redact/{}/t{txn_id}", encode(event)));
        event_id(&self.put(&path, json!({})).await.ok())
    }

    /// An event of a room.
    pub async fn event(&self, room: &str, event: &str) -> Value {
        self.get(&in_room(room, &format!("event/{}", encode(event)))).await.ok()
    }
}

/// The path of a resource of a room.
pub fn in_room(room: &str, rest: &str) -> String {
    format!("/_matrix/client/v3/rooms/{}/{rest}", encode(room))
}

/// A text, percent-encoded as one path segment.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.extend(["%".to_owned(), format!("{byte:02X}")]),
        }
    }
    encoded
}

fn event_id(answer: &Value) -> String {
    answer["event_id"].as_str().expect("an event ID").to_owned()
}
