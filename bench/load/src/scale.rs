//! How large the scenarios are.

use std::time::Duration;

/// How large and long the scenarios are.
pub(crate) struct Scale {
    /// How long a closed loop runs.
    pub(crate) time: Duration,
    /// How long it runs before that, unmeasured.
    pub(crate) warm_up: Duration,
    /// How long a server is left alone before its memory counts.
    pub(crate) rest: Duration,
    /// Rooms of the user whose syncs are measured.
    pub(crate) rooms: usize,
    /// Initial syncs, each on a new device.
    pub(crate) initial_syncs: usize,
    /// Members that join a room, or wait for its messages.
    pub(crate) members: usize,
    /// Messages in the smaller fan-out.
    pub(crate) messages_to_100: usize,
    /// Messages in the larger one.
    pub(crate) messages_to_1000: usize,
    /// Messages in the one that is flat out, at most.
    pub(crate) messages_flat_out: usize,
    /// Messages of the room that is paged through.
    pub(crate) history: usize,
    /// Rooms of the user who syncs after a restart.
    pub(crate) quiet_rooms: usize,
    /// Rooms of the user with large ones, and members of each.
    pub(crate) large_rooms: usize,
    /// Users who are in the state of the largest room.
    pub(crate) large_room: usize,
}

impl Scale {
    /// What the figures in the documentation are from.
    pub(crate) const FULL: Self = Self {
        time: Duration::from_secs(10),
        warm_up: Duration::from_secs(2),
        rest: Duration::from_secs(10),
        rooms: 200,
        initial_syncs: 10,
        members: 1_000,
        messages_to_100: 30,
        messages_to_1000: 100,
        messages_flat_out: 1_000,
        history: 1_000,
        quiet_rooms: 3_000,
        large_rooms: 300,
        large_room: 20_000,
    };

    /// A minute or so in all, even on a slow server.
    pub(crate) const QUICK: Self = Self {
        time: Duration::from_secs(2),
        warm_up: Duration::from_millis(500),
        rest: Duration::from_secs(1),
        rooms: 10,
        initial_syncs: 3,
        members: 50,
        messages_to_100: 5,
        messages_to_1000: 10,
        messages_flat_out: 50,
        history: 200,
        quiet_rooms: 30,
        large_rooms: 10,
        large_room: 200,
    };
}
