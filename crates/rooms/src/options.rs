//! Settings of rooms, and how much of them stays in memory.

use ruma::RoomVersionId;

/// Settings of rooms, and the limits of their caches.
#[derive(Clone, Debug)]
pub struct RoomsOptions {
    /// The version of a room if its creator does not choose one.
    pub default_version: RoomVersionId,
    /// How many bytes of rooms stay in memory, roughly.
    pub room_bytes: u64,
    /// How many bytes of events stay in memory, roughly.
    pub event_bytes: u64,
    /// How many bytes of state trees stay in memory, roughly.
    pub state_bytes: u64,
    /// How many bytes of users' memberships stay in memory, roughly.
    pub membership_bytes: u64,
    /// How many state resolutions run at once.
    pub resolutions: usize,
    /// How many rooms one user can be in.
    pub joined_rooms: usize,
}

impl Default for RoomsOptions {
    fn default() -> Self {
        Self {
            default_version: RoomVersionId::V12,
            room_bytes: 40 << 20,
            event_bytes: 32 << 20,
            state_bytes: 24 << 20,
            membership_bytes: 24 << 20,
            resolutions: 2,
            joined_rooms: 10_000,
        }
    }
}
