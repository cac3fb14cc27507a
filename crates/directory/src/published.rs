//! Which rooms are on the list.

use stoa_base::Actor;
use stoa_rooms::Room;
use stoa_storage::repo::published;

use crate::{
    Directory,
    error::{DirectoryError, Result},
};

impl Directory {
    /// Whether a room is on the list.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid>
    pub async fn is_published(&self, room: &Room) -> Result<bool> {
        Ok(published::is_published(&mut self.store.read().await?, room.nid).await?)
    }

    /// Puts a room on the list, on the word of the program, as for one that is being made.
    pub async fn publish(&self, room: &Room) -> Result<()> {
        let mut conn = self.store.write().await?;
        published::publish(&mut conn, room.nid).await?;
        Ok(conn.commit().await?)
    }

    /// Puts a room on the list or takes it off. Whoever may say what the room's main alias is may
    /// do this; `is_admin` says that the actor administers this server.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid>
    pub async fn set_published(
        &self,
        actor: &Actor,
        is_admin: bool,
        room: &Room,
        published: bool,
    ) -> Result<()> {
        if !is_admin && !self.is_curator(&actor.user_id, room).await? {
            return Err(DirectoryError::Forbidden(
                "You cannot decide whether this room is on the room list",
            ));
        }
        if published {
            return self.publish(room).await;
        }
        let mut conn = self.store.write().await?;
        published::withdraw(&mut conn, room.nid).await?;
        Ok(conn.commit().await?)
    }
}
