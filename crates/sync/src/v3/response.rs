//! The answer of `/sync`.
//!
//! This does not use ruma's type, which leaves out fields that clients rely on, such as
//! `limited: false` or an empty list of events.

use std::collections::BTreeMap;

use ruma::OwnedRoomId;
use serde::Serialize;

use crate::room_news::Json;

/// The answer of `/sync`.
#[derive(Debug, Default, Serialize)]
pub struct Response {
    /// The token to present next.
    pub next_batch: String,
    /// Global account data.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub account_data: Events,
    /// News of rooms.
    #[serde(skip_serializing_if = "Rooms::is_empty")]
    pub rooms: Rooms,
}

impl Response {
    /// Whether there is no news.
    pub fn is_empty(&self) -> bool {
        self.account_data.is_empty() && self.rooms.is_empty()
    }
}

/// News of rooms, by the reader's membership.
#[derive(Debug, Default, Serialize)]
pub struct Rooms {
    /// Rooms that the reader is in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub join: BTreeMap<OwnedRoomId, JoinedRoom>,
    /// Rooms that the reader is invited to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub invite: BTreeMap<OwnedRoomId, InvitedRoom>,
    /// Rooms that the reader has knocked on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub knock: BTreeMap<OwnedRoomId, KnockedRoom>,
    /// Rooms that the reader has left or was removed from.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub leave: BTreeMap<OwnedRoomId, LeftRoom>,
}

impl Rooms {
    fn is_empty(&self) -> bool {
        self.join.is_empty()
            && self.invite.is_empty()
            && self.knock.is_empty()
            && self.leave.is_empty()
    }
}

/// A list of events.
#[derive(Debug, Default, Serialize)]
pub struct Events {
    /// The events.
    pub events: Vec<Json>,
}

impl Events {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// A room that the reader is in.
#[derive(Debug, Default, Serialize)]
pub struct JoinedRoom {
    /// The member counts and the heroes, if they changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The state.
    #[serde(flatten)]
    pub state: State,
    /// The timeline.
    pub timeline: Timeline,
    /// Typing notifications and receipts.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub ephemeral: Events,
    /// The reader's account data for the room.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub account_data: Events,
}

/// A room that the reader has left.
#[derive(Debug, Serialize)]
pub struct LeftRoom {
    /// The state.
    #[serde(flatten)]
    pub state: State,
    /// The timeline, up to where the reader left.
    pub timeline: Timeline,
    /// The reader's account data for the room.
    #[serde(skip_serializing_if = "Events::is_empty")]
    pub account_data: Events,
}

/// A room that the reader is invited to.
#[derive(Debug, Serialize)]
pub struct InvitedRoom {
    /// The room's stripped state.
    pub invite_state: Events,
}

/// A room that the reader has knocked on.
#[derive(Debug, Serialize)]
pub struct KnockedRoom {
    /// The room's stripped state.
    pub knock_state: Events,
}

/// A part of a room's state, at one end of the timeline or the other.
#[derive(Debug, Serialize)]
pub enum State {
    /// At the start of the timeline, whose state events have to be applied on top.
    #[serde(rename = "state")]
    Before(Events),
    /// At the end of the timeline, whose state events are already included.
    #[serde(rename = "state_after")]
    After(Events),
}

impl Default for State {
    fn default() -> Self {
        Self::Before(Events::default())
    }
}

/// A part of a room's timeline.
#[derive(Debug, Default, Serialize)]
pub struct Timeline {
    /// The events, oldest first.
    pub events: Vec<Json>,
    /// Whether there are older events that the client lacks.
    pub limited: bool,
    /// The token from which to page back.
    pub prev_batch: String,
}

/// A room's summary.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary>
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The heroes, if the room has no name.
    #[serde(rename = "m.heroes", skip_serializing_if = "Option::is_none")]
    pub heroes: Option<Vec<String>>,
    /// How many members are joined.
    #[serde(rename = "m.joined_member_count")]
    pub joined: i64,
    /// How many members are invited.
    #[serde(rename = "m.invited_member_count")]
    pub invited: i64,
}
