//! Local aliases: creating, resolving, listing and deleting them.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>

use std::sync::Arc;

use ruma::{OwnedRoomAliasId, OwnedServerName, OwnedUserId, RoomAliasId, UserId};
use stoa_base::Actor;
use stoa_rooms::Room;
use stoa_storage::{
    Conn, Error,
    repo::aliases::{self, AliasRow},
};

use crate::{
    Directory,
    error::{DirectoryError, Result},
};

/// The maximum number of aliases per room.
const MAX_ALIASES: i64 = 1_000;

/// The maximum size of an alias in bytes, including the sigil and the server name.
///
/// <https://spec.matrix.org/v1.19/appendices/#room-aliases>
const MAX_ALIAS_BYTES: usize = 255;

/// How long an alias stays reserved for a room that is being created. This is longer than creating
/// a room ever takes, so only reservations of a node that has died expire.
const RESERVATION_MS: i64 = 2 * 60 * 1_000;

/// The result of resolving an alias.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The room.
    pub room: Arc<Room>,
    /// The user who created the alias.
    pub creator: OwnedUserId,
    /// Servers that are in the room, this one first.
    pub servers: Vec<OwnedServerName>,
}

/// An alias reserved for a room that is being created.
#[derive(Debug)]
#[must_use = "it ends with `Directory::add` or `Directory::release`"]
pub struct Reservation {
    alias: OwnedRoomAliasId,
    /// When it expires. This also distinguishes reservations of the same alias from one another.
    until_ms: i64,
}

impl Reservation {
    /// The alias.
    pub fn alias(&self) -> &RoomAliasId {
        &self.alias
    }
}

impl Directory {
    /// The local alias with this localpart.
    pub fn local_alias(&self, localpart: &str) -> Result<OwnedRoomAliasId> {
        let alias = format!("#{localpart}:{}", self.rooms.server_name());
        let alias = RoomAliasId::parse(alias).map_err(|_| {
            DirectoryError::InvalidAlias("The name of an alias cannot contain `:` or U+0000")
        })?;
        self.check_local(&alias)?;
        Ok(alias)
    }

    /// Whether an alias belongs to this server.
    pub fn is_local(&self, alias: &RoomAliasId) -> bool {
        alias.server_name() == self.rooms.server_name()
    }

    /// Checks that this is a valid local alias.
    fn check_local(&self, alias: &RoomAliasId) -> Result<()> {
        if alias.as_str().len() > MAX_ALIAS_BYTES {
            return Err(DirectoryError::InvalidAlias("The alias is longer than 255 bytes"));
        }
        if alias.alias().is_empty() {
            return Err(DirectoryError::InvalidAlias("The name of the alias is empty"));
        }
        if !self.is_local(alias) {
            return Err(DirectoryError::InvalidAlias("The alias belongs to another server"));
        }
        Ok(())
    }

    /// Resolves an alias. Aliases of other servers are not known here.
    pub async fn resolve(&self, alias: &RoomAliasId) -> Result<Option<Alias>> {
        if !self.is_local(alias) {
            return Ok(None);
        }
        let row = aliases::get(&mut self.store.read().await?, alias.as_str()).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Alias {
            room: self.rooms.known.by_nid(row.room).await?,
            creator: OwnedUserId::try_from(row.creator).map_err(Error::corrupt)?,
            servers: vec![self.rooms.server_name().to_owned()],
        }))
    }

    /// Gives a room an alias. The actor must be in the room.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias>
    pub async fn create_alias(
        &self,
        actor: &Actor,
        alias: &RoomAliasId,
        room: &Room,
    ) -> Result<()> {
        self.check_local(alias)?;
        if !self.is_joined(&actor.user_id, room).await? {
            return Err(DirectoryError::Forbidden("You are not in this room"));
        }
        let mut conn = self.store.write().await?;
        release_overdue(&mut conn).await?;
        let present = aliases::of_room(&mut conn, room.nid, MAX_ALIASES).await?;
        if i64::try_from(present.len()).is_ok_and(|count| count >= MAX_ALIASES) {
            return Err(DirectoryError::TooMany);
        }
        let row = AliasRow {
            alias: alias.to_string(),
            room: room.nid,
            creator: actor.user_id.to_string(),
        };
        if !aliases::insert(&mut conn, &row).await? {
            return Err(DirectoryError::Taken);
        }
        Ok(conn.commit().await?)
    }

    /// Reserves an alias for a room that the actor is about to create. Follow it with
    /// [`Directory::add`] once the room exists, or with [`Directory::release`] if it was refused.
    /// Otherwise the reservation expires after two minutes.
    pub async fn reserve(&self, actor: &Actor, alias: &RoomAliasId) -> Result<Reservation> {
        self.check_local(alias)?;
        let mut conn = self.store.write().await?;
        let until_ms = release_overdue(&mut conn).await? + RESERVATION_MS;
        let creator = actor.user_id.as_str();
        if !aliases::reserve(&mut conn, alias.as_str(), creator, until_ms).await? {
            return Err(DirectoryError::Taken);
        }
        conn.commit().await?;
        Ok(Reservation { alias: alias.to_owned(), until_ms })
    }

    /// Adds the reserved alias to the new room.
    pub async fn add(&self, reservation: Reservation, room: &Room) -> Result<()> {
        let Reservation { alias, until_ms } = reservation;
        let mut conn = self.store.write().await?;
        if !aliases::settle(&mut conn, alias.as_str(), until_ms, room.nid).await? {
            return Err(DirectoryError::Taken);
        }
        Ok(conn.commit().await?)
    }

    /// Releases an alias whose room was not created.
    pub async fn release(&self, reservation: Reservation) -> Result<()> {
        let Reservation { alias, until_ms } = reservation;
        let mut conn = self.store.write().await?;
        aliases::release(&mut conn, alias.as_str(), until_ms).await?;
        Ok(conn.commit().await?)
    }

    /// The local aliases of a room. The actor must be in the room, unless it is world-readable.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases>
    pub async fn aliases_of(&self, reader: &UserId, room: &Room) -> Result<Vec<OwnedRoomAliasId>> {
        let is_shown = self.is_joined(reader, room).await? || {
            let state = self.rooms.known.committed(room).await?.state;
            self.rooms.visibility.is_world_readable(state).await?
        };
        if !is_shown {
            return Err(DirectoryError::Forbidden("You are not in this room"));
        }
        let rows = aliases::of_room(&mut self.store.read().await?, room.nid, MAX_ALIASES).await?;
        let aliases = rows
            .into_iter()
            .map(|row| OwnedRoomAliasId::try_from(row.alias).map_err(Error::corrupt))
            .collect::<Result<_, Error>>()?;
        Ok(aliases)
    }

    /// The room that an alias leads to, if the actor may delete the alias. Allowed are its creator,
    /// users in the room who may change its canonical alias, and, with `is_admin`, server admins.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias>
    pub async fn check_deletion(
        &self,
        actor: &Actor,
        is_admin: bool,
        alias: &RoomAliasId,
    ) -> Result<Arc<Room>> {
        let found = self.resolve(alias).await?.ok_or(DirectoryError::NotFound)?;
        let may = is_admin
            || found.creator == actor.user_id
            || self.is_curator(&actor.user_id, &found.room).await?;
        if !may {
            return Err(DirectoryError::Forbidden("You cannot delete aliases created by others"));
        }
        Ok(found.room)
    }

    /// Deletes an alias if [`Directory::check_deletion`] allows it, and returns the room that it
    /// led to. The room's `m.room.canonical_alias` is not changed.
    pub async fn delete_alias(
        &self,
        actor: &Actor,
        is_admin: bool,
        alias: &RoomAliasId,
    ) -> Result<Arc<Room>> {
        let room = self.check_deletion(actor, is_admin, alias).await?;
        let mut conn = self.store.write().await?;
        if !aliases::delete(&mut conn, alias.as_str(), room.nid).await? {
            return Err(DirectoryError::NotFound);
        }
        conn.commit().await?;
        Ok(room)
    }
}

/// Deletes expired reservations, and returns the time.
async fn release_overdue(conn: &mut Conn) -> Result<i64> {
    let now_ms = conn.now_ms().await?;
    aliases::release_overdue(conn, now_ms).await?;
    Ok(now_ms)
}
