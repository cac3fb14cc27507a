//! The things that an append concerns.

/// Something that at most one append of a batch may concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Claim<'a> {
    /// A user's account, with its devices and sessions.
    Account(&'a str),
    /// The new room with this Matrix ID.
    RoomId(&'a str),
    /// The new event with this Matrix ID.
    EventId(&'a str),
    /// What a device sends under one transaction ID.
    Transaction { device: &'a str, txn_id: &'a str },
}
