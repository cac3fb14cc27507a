//! What an append concerns.

/// What no two appends of one batch may concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Claim<'a> {
    /// The account of a user, with their devices and sessions.
    Account(&'a str),
    /// The new room with this Matrix ID.
    RoomId(&'a str),
    /// The new event with this Matrix ID.
    EventId(&'a str),
    /// What a device sends with a transaction ID.
    Transaction { device: &'a str, txn_id: &'a str },
}
