//! What a batch changed, by name only: enough to drop what is stale and to wake who waits.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stoa_base::{Nid, RoomNid};

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// A room's timeline has a new event.
    Timeline,
    /// A room's current state changed.
    State,
    /// A user's membership of some room changed.
    Membership,
    /// An event of a room was redacted.
    Redaction,
    /// A room's receipts changed.
    Receipts,
    /// A user's account data changed, global or in a room.
    AccountData,
    /// Some of a user's sessions ended.
    Sessions,
    /// Some of a user's devices were created, renamed or removed.
    Devices,
    /// A user was erased: their events are shown redacted to some.
    Erasure,
}

/// Whom or what a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Topic {
    /// A room.
    Room(Nid),
    /// A user, by Matrix ID.
    User(String),
}

impl From<RoomNid> for Topic {
    fn from(room: RoomNid) -> Self {
        Self::Room(room.0)
    }
}

impl From<&ruma::UserId> for Topic {
    fn from(user: &ruma::UserId) -> Self {
        Self::User(user.to_string())
    }
}

/// The streams that a batch changed, each with the room or user concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Touched(BTreeSet<(Stream, Topic)>);

impl Touched {
    /// Adds a change.
    pub fn add(&mut self, stream: Stream, topic: impl Into<Topic>) {
        self.0.insert((stream, topic.into()));
    }

    /// Adds all changes of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// The changes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Stream, &Topic)> {
        self.0.iter().map(|(stream, topic)| (*stream, topic))
    }
}
