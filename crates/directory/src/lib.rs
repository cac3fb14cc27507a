//! The directory: local room aliases and the local room directory.
//!
//! Reads go to the database and are not cached, so another node sees a write at once, and the log
//! is not needed.

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

/// The room directory and aliases of this server.
#[derive(Debug)]
pub struct Directory {
    store: Store,
    rooms: Arc<Rooms>,
}

impl Directory {
    /// A directory of these rooms.
    pub fn new(store: Store, rooms: Arc<Rooms>) -> Self {
        Self { store, rooms }
    }

    async fn is_joined(&self, user_id: &UserId, room: &Room) -> Result<bool> {
        let membership = self.rooms.memberships.in_room(user_id, room).await?;
        Ok(membership.is_some_and(|membership| membership.is_joined()))
    }

    /// Whether a user is in the room and may change its canonical alias. Such users may also delete
    /// aliases created by others, and decide whether the room is published.
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
