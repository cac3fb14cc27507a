//! The directory: local aliases of rooms, and the local room list.
//!
//! Reads go to the database and are not cached, so what one node wrote another reads at once, and
//! nothing of it needs the log.

mod aliases;
mod error;
mod list;
mod published;

use std::sync::Arc;

use ruma::UserId;
use stoa_rooms::{Room, Rooms};
use stoa_storage::Store;

pub use self::{
    aliases::{Alias, Reservation},
    error::{DirectoryError, Result},
    list::{List, ListOptions},
};

/// The directory of this server.
#[derive(Debug)]
pub struct Directory {
    store: Store,
    rooms: Arc<Rooms>,
}

impl Directory {
    /// The directory of these rooms.
    pub fn new(store: Store, rooms: Arc<Rooms>) -> Self {
        Self { store, rooms }
    }

    async fn is_joined(&self, user_id: &UserId, room: &Room) -> Result<bool> {
        let membership = self.rooms.memberships.in_room(user_id, room).await?;
        Ok(membership.is_some_and(|membership| membership.is_joined()))
    }

    /// Whether a user is in the room and may say what its main alias is. Who may do that may also
    /// delete aliases that others made, and decide whether the room is on the list.
    async fn is_curator(&self, user_id: &UserId, room: &Room) -> Result<bool> {
        if !self.is_joined(user_id, room).await? {
            return Ok(false);
        }
        let state = self.rooms.known.committed(room).await?.state;
        let power = self.rooms.state_events.power(&room.rules, state).await?;
        let needed = power.needed_to_send(&"m.room.canonical_alias".into(), Some(""))?;
        Ok(power.of(user_id)? >= needed)
    }
}
