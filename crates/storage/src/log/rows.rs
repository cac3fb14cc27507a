//! The rows that an append may hold, one type a table.
//!
//! A position in a row is relative: 1 is the first position of the append. The writer moves it to
//! its place in the batch, and the database to its place in the log.

use serde::Serialize;
use stoa_base::{EventNid, RoomNid, StateNid};

/// A position relative to the start of an append, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RelPos(pub i64);

/// Whether an event was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// It passed the authorization checks and is part of the room.
    Accepted,
    /// It passed the checks by its own auth events, but not by the current state: it counts in
    /// state resolution and is shown to nobody.
    SoftFailed,
    /// It failed the checks: it changes no state and is shown to nobody.
    Rejected,
}

impl EventStatus {
    /// The number that stands in the database.
    pub const fn to_number(self) -> i64 {
        match self {
            Self::Accepted => 0,
            Self::SoftFailed => 1,
            Self::Rejected => 2,
        }
    }

    /// Reads the number that stands in the database.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Accepted),
            1 => Some(Self::SoftFailed),
            2 => Some(Self::Rejected),
            _ => None,
        }
    }
}

impl Serialize for EventStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.to_number())
    }
}

/// A new event.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Its internal number.
    pub nid: EventNid,
    /// Its Matrix ID.
    pub event_id: String,
    /// Its room.
    pub room_nid: RoomNid,
    /// Where it enters the live timeline; none for an outlier, backfill, or a rejected event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<RelPos>,
    /// For an event without `pos`: the live event before which it stands; none for an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_pos: Option<i64>,
    /// Its order among those with the same `ord_pos`: its depth, clamped; `i64::MAX` for a live one.
    pub ord_depth: i64,
    /// Its order among those with the same depth: the order of arrival.
    pub ord_seq: i64,
    /// The depth that it states.
    pub depth: i64,
    /// Who sent it.
    pub sender: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its state key, of a state event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// When it was made, in milliseconds, as its server says.
    pub origin_ts: i64,
    /// Whether it was accepted.
    pub status: EventStatus,
    /// The room's state before it; none for an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<StateNid>,
    /// The room's state after it; none for an outlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<StateNid>,
    /// 1 where the state is known only in part, else 0.
    pub partial: i64,
    /// The state event that it took the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<EventNid>,
    /// The user and device that sent it with `txn_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn_device: Option<String>,
    /// The key under which that device may repeat the request and get the same answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn_id: Option<String>,
    /// The event as canonical JSON, with its signatures.
    pub json: String,
}

/// A change to an event that is there already. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventUpdateRow {
    /// The event.
    pub nid: EventNid,
    /// Where an outlier enters the live timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<RelPos>,
    /// Where an outlier is put by backfill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_pos: Option<i64>,
    /// See [`EventRow::ord_depth`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_depth: Option<i64>,
    /// See [`EventRow::ord_seq`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ord_seq: Option<i64>,
    /// Whether it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<EventStatus>,
    /// The state before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<StateNid>,
    /// The state after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_after: Option<StateNid>,
    /// 1 where the state is known only in part, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<i64>,
}

/// A previous event that is named by an event here and is not here itself.
#[derive(Clone, Debug, Serialize)]
pub struct MissingPrevEventRow {
    /// The Matrix ID of the missing event.
    pub prev_event_id: String,
    /// The event that names it.
    pub event_nid: EventNid,
}

/// A redaction: the event's text without what was redacted.
#[derive(Clone, Debug, Serialize)]
pub struct RedactionRow {
    /// The event that is redacted.
    pub nid: EventNid,
    /// The event that redacts it.
    pub redacted_by: EventNid,
    /// The new text, as canonical JSON.
    pub json: String,
}

/// A node of a state tree.
#[derive(Clone, Debug, Serialize)]
pub struct StateNodeRow {
    /// Its internal number.
    pub nid: StateNid,
    /// The node's bytes, as hexadecimal digits.
    pub node: String,
}

/// A change of a room's current state, whether or not one event brought it.
#[derive(Clone, Debug, Serialize)]
pub struct StateChangeRow {
    /// The room.
    pub room_nid: RoomNid,
    /// When it changed.
    pub pos: RelPos,
    /// The event type of the entry.
    #[serde(rename = "type")]
    pub kind: String,
    /// The state key of the entry.
    pub state_key: String,
    /// The event that was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_nid: Option<EventNid>,
    /// The event that is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_nid: Option<EventNid>,
}

/// A new room.
#[derive(Clone, Debug, Serialize)]
pub struct RoomRow {
    /// Its internal number.
    pub nid: RoomNid,
    /// Its Matrix ID.
    pub room_id: String,
    /// Its room version.
    pub version: String,
    /// When this server made or first saw it, in milliseconds.
    pub created_ms: i64,
}

/// What an append changes in a room's own row.
#[derive(Clone, Debug, Serialize)]
pub struct RoomUpdateRow {
    /// The room.
    pub room_nid: RoomNid,
    /// Events that become forward extremities.
    pub added: Vec<EventNid>,
    /// Events that are forward extremities no more.
    pub consumed: Vec<EventNid>,
    /// The new current state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_root: Option<StateNid>,
    /// When the current state changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_pos: Option<RelPos>,
    /// When the extremities changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_pos: Option<RelPos>,
    /// By how much the number of joined members changes.
    pub joined: i64,
    /// By how much the number of invited members changes.
    pub invited: i64,
}

/// A user's current membership of a room.
#[derive(Clone, Debug, Serialize)]
pub struct MembershipRow {
    /// The user.
    pub user_id: String,
    /// The room.
    pub room_nid: RoomNid,
    /// `join`, `invite`, `leave`, `ban` or `knock`.
    pub membership: String,
    /// The member event.
    pub event_nid: EventNid,
    /// Who sent the member event.
    pub sender: String,
    /// When it became current.
    pub pos: RelPos,
}

/// A room that a user forgets.
#[derive(Clone, Debug, Serialize)]
pub struct ForgottenRoomRow {
    /// The user.
    pub user_id: String,
    /// The room.
    pub room_nid: RoomNid,
}

/// A piece of account data.
#[derive(Clone, Debug, Serialize)]
pub struct AccountDataRow {
    /// The user.
    pub user_id: String,
    /// The room; zero for global account data.
    pub room_nid: RoomNid,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its content, as JSON.
    pub content: String,
    /// When it was set.
    pub pos: RelPos,
}

/// A read receipt, public or private, or a fully-read marker's public part.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptRow {
    /// The room.
    pub room_nid: RoomNid,
    /// `m.read` or `m.read.private`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who has read.
    pub user_id: String,
    /// The thread: `main`, an event ID, or empty for an unthreaded receipt.
    pub thread: String,
    /// Up to which event.
    pub event_id: String,
    /// When, in milliseconds.
    pub ts: i64,
    /// When it was set.
    pub pos: RelPos,
}

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChangeKind {
    /// Its user logged in with it. Where the client named it, it may have been there before.
    Created,
    /// It is called something else.
    Renamed,
    /// It was removed.
    Removed,
}

impl DeviceChangeKind {
    /// The number that stands in the database.
    pub const fn to_number(self) -> i64 {
        match self {
            Self::Created => 0,
            Self::Renamed => 1,
            Self::Removed => 2,
        }
    }

    /// Reads the number that stands in the database.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Created),
            1 => Some(Self::Renamed),
            2 => Some(Self::Removed),
            _ => None,
        }
    }
}

impl Serialize for DeviceChangeKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.to_number())
    }
}

/// A change of one of a user's devices, for whoever has to be told. What the change is made of
/// stands in rows of its own, such as [`DeviceRemovalRow`](super::DeviceRemovalRow).
#[derive(Clone, Debug, Serialize)]
pub struct DeviceChangeRow {
    /// The user.
    pub user_id: String,
    /// The device.
    pub device_id: String,
    /// What happened to it.
    pub kind: DeviceChangeKind,
    /// When: a position that this append's other device changes do not have.
    pub pos: RelPos,
}
