//! Publishing rooms in the room directory.

use stoa_base::Actor;
use stoa_rooms::Room;
use stoa_storage::repo::published;

use crate::{
    Directory,
    error::{DirectoryError, Result},
};

impl Directory {
    /// Whether a room is published.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid>
    pub async fn is_published(&self, room: &Room) -> Result<bool> {
        Ok(published::is_published(&mut self.store.read().await?, room.nid).await?)
    }

    /// Publishes a room without checking permissions, as for a room that is being created.
    pub async fn publish(&self, room: &Room) -> Result<()> {
        let mut conn = self.store.write().await?;
        published::publish(&mut conn, room.nid).await?;
        Ok(conn.commit().await?)
    }

    /// Publishes a room, or withdraws it. Allowed are users in the room who may change its
    /// canonical alias, and, with `is_admin`, server admins.
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
                "You cannot decide whether this room is published",
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
