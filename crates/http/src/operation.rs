//! What an operation of an API costs whoever asks for it, and whether it is audited.
//!
//! An operation is a method and the newest stable path of a request; the other paths under which
//! it is served share its entry. The router gives each route its operation, so that the limits are
//! applied before a handler runs and no handler can forget them.

use http::Method;

/// An operation, and what holds for it.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The newest stable path, with its variables in braces.
    pub path: &'static str,
    /// Whose budget it uses.
    pub class: Class,
    /// How much of the budget a request uses. What depends on the request, such as the number of
    /// events that are written, is charged by the handler ([`Budget::charge`](crate::Budget)).
    pub cost: u32,
    /// Whether it leaves audit rows; none where it changes nothing.
    pub audited: Option<Audited>,
}

/// Whether what an operation changes is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// It may change an account, a session, or somebody else's membership: the append that does so
    /// holds an audit row.
    Yes,
    /// It changes something else.
    No,
}

/// A budget of requests. Each user, or each address where nobody is logged in, has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Events that a user sends one by one; the cost is their number.
    Messages,
    /// Making rooms; the cost is the number of events.
    RoomCreation,
    /// Changing one's name or avatar; the cost is the number of events, one for each joined room.
    Profiles,
    /// What is changed beside rooms: account data, filters, aliases, sessions, the password.
    Writes,
    /// Typing and receipts.
    Ephemeral,
    /// What costs little to answer.
    Reads,
    /// What reads much: pages of history, members, whole states, searches, a first sync.
    HeavyReads,
    /// Syncs that go on from an earlier one.
    Syncs,
    /// What is asked by somebody who is not logged in, and logging out, counted by address.
    Anonymous,
    /// Log-ins, registrations, what asks for a password, and what tells which accounts there are,
    /// counted by address.
    Attempts,
    /// What is never refused.
    Unlimited,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Messages,
        Self::RoomCreation,
        Self::Profiles,
        Self::Writes,
        Self::Ephemeral,
        Self::Reads,
        Self::HeavyReads,
        Self::Syncs,
        Self::Anonymous,
        Self::Attempts,
        Self::Unlimited,
    ];

    /// Its name, as a label of metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::RoomCreation => "room_creation",
            Self::Profiles => "profiles",
            Self::Writes => "writes",
            Self::Ephemeral => "ephemeral",
            Self::Reads => "reads",
            Self::HeavyReads => "heavy_reads",
            Self::Syncs => "syncs",
            Self::Anonymous => "anonymous",
            Self::Attempts => "logins",
            Self::Unlimited => "unlimited",
        }
    }
}

impl Operation {
    /// An operation that changes nothing.
    pub const fn get(path: &'static str, class: Class, cost: u32) -> Self {
        Self { method: Method::GET, path, class, cost, audited: None }
    }

    /// A `POST`.
    pub const fn post(path: &'static str, class: Class, cost: u32, audited: Audited) -> Self {
        Self { method: Method::POST, path, class, cost, audited: Some(audited) }
    }

    /// A `PUT`.
    pub const fn put(path: &'static str, class: Class, cost: u32, audited: Audited) -> Self {
        Self { method: Method::PUT, path, class, cost, audited: Some(audited) }
    }

    /// A `DELETE`.
    pub const fn delete(path: &'static str, class: Class, cost: u32, audited: Audited) -> Self {
        Self { method: Method::DELETE, path, class, cost, audited: Some(audited) }
    }
}

/// Stands for an operation that nobody has listed, which a test should have found. It costs as much
/// as an event, so that it is not free.
pub static UNLISTED: Operation =
    Operation { method: Method::GET, path: "", class: Class::Messages, cost: 1, audited: None };
