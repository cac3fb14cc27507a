//! What an operation of an API costs its caller, and whether it is audited.
//!
//! An operation is a method and the newest stable path of a request; the other paths of the request
//! share its entry. The router assigns each route its operation, so that the limits are applied
//! before a handler runs and no handler can forget them.

use http::Method;

/// An operation, its cost, and whether it is audited.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The method.
    pub method: Method,
    /// The newest stable path, with its variables in braces.
    pub path: &'static str,
    /// The budget that it uses.
    pub class: Class,
    /// The fixed cost of a request. Costs that depend on the request, such as the number of events
    /// written, are charged by the handler ([`Budget::charge`](crate::Budget)).
    pub cost: u32,
    /// Whether it is audited; `None` if it changes nothing.
    pub audited: Option<Audited>,
}

/// Whether the changes of an operation are audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// It can change an account, a session, or another user's membership, and the append that does
    /// so holds an audit row.
    Yes,
    /// It changes something else.
    No,
}

/// A budget of requests. Each user has one of each class, and so does each address for requests
/// without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Events that a user sends one by one; the cost is their number.
    Messages,
    /// Creating rooms; the cost is the number of events.
    RoomCreation,
    /// Changing a display name or avatar; the cost is the number of events, one per joined room.
    Profiles,
    /// Other changes: account data, filters, aliases, sessions, the password.
    Writes,
    /// Typing notifications and receipts.
    Ephemeral,
    /// Cheap reads.
    Reads,
    /// Expensive reads: pages of history, members, whole states, searches, a first sync.
    HeavyReads,
    /// Incremental syncs.
    Syncs,
    /// Requests without a session, and logging out, counted by address.
    Anonymous,
    /// Logins, registrations, operations that ask for a password, and those that reveal which
    /// accounts exist, counted by address.
    Attempts,
    /// Operations that are never refused.
    Unlimited,
}

impl Class {
    /// All classes.
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

    /// The class's name as a label of metrics.
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

/// Stands for an operation that is missing from the table, which a test should have found. It costs
/// as much as sending an event, so that it is not free.
pub static UNLISTED: Operation =
    Operation { method: Method::GET, path: "", class: Class::Messages, cost: 1, audited: None };
