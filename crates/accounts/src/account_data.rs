//! Account data: what clients store on the server for their user, globally or for one room.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#client-config>

use ruma::UserId;
use serde_json::value::RawValue;
use stoa_base::{Actor, RoomNid};
use stoa_storage::{
    Store,
    log::{AccountDataRow, Append, Stream, Writer},
    repo::account_data,
};

use crate::{
    failure::{Failure, fails_with_failure},
    options::Totals,
    sessions::guard_actor,
};

/// Types that are set only by the server, through endpoints of their own.
const MANAGED: [&str; 2] = ["m.fully_read", "m.push_rules"];
const MAX_TYPE: usize = 255;
/// The largest content, in bytes.
const MAX_CONTENT: usize = 512 * 1_024;

/// Why account data was not set.
#[derive(Debug, thiserror::Error)]
pub enum AccountDataError {
    /// Only the server sets this type.
    #[error("this type of account data is controlled by the server")]
    Managed,
    /// The type is empty, too long, or holds a NUL.
    #[error("this is not a valid type of account data")]
    InvalidType,
    /// The content is not a JSON object.
    #[error("the content must be a JSON object")]
    NotAnObject,
    /// The content is too large.
    #[error("the account data is too large")]
    TooLarge,
    /// There are too many types.
    #[error("there are too many types of account data")]
    TooMany,
    /// All of the user's account data together is too large.
    #[error("you have reached the limit on account data")]
    Full,
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(AccountDataError);

/// Adds account data to an append without any checks, for the types that the server itself sets.
pub fn put_account_data(
    append: &mut Append,
    user_id: &UserId,
    room: Option<RoomNid>,
    kind: &str,
    content: String,
) {
    let pos = append.next_pos();
    append.touched.add(Stream::AccountData, user_id);
    append.account_data.push(AccountDataRow {
        user_id: user_id.to_string(),
        room_nid: room.unwrap_or(account_data::GLOBAL),
        kind: kind.to_owned(),
        content,
        pos,
    });
}

/// The account data of local users.
#[derive(Debug)]
pub struct AccountData {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) totals: Totals,
}

impl AccountData {
    /// A user's account data of one type, for a room or global.
    pub async fn get(
        &self,
        user_id: &UserId,
        room: Option<RoomNid>,
        kind: &str,
    ) -> Result<Option<Box<RawValue>>, Failure> {
        if kind.contains('\0') {
            return Ok(None);
        }
        let mut conn = self.store.read().await?;
        let found = account_data::find(&mut conn, user_id, room, kind).await?;
        let content = found.map(|data| RawValue::from_string(data.content)).transpose();
        Ok(content.map_err(stoa_storage::Error::corrupt)?)
    }

    /// The size in bytes of a user's account data, global and in all rooms.
    pub async fn bytes(&self, user_id: &UserId) -> Result<u64, Failure> {
        let usage = account_data::usage(&mut self.store.read().await?, user_id, None).await?;
        Ok(u64::try_from(usage.bytes).unwrap_or(0))
    }

    /// Sets account data of the actor, for a room or globally.
    pub async fn set(
        &self,
        actor: &Actor,
        room: Option<RoomNid>,
        kind: &str,
        content: &RawValue,
    ) -> Result<(), AccountDataError> {
        if MANAGED.contains(&kind) {
            return Err(AccountDataError::Managed);
        }
        if kind.is_empty() || kind.len() > MAX_TYPE || kind.contains('\0') {
            return Err(AccountDataError::InvalidType);
        }
        let content = content.get().trim();
        if !content.starts_with('{') {
            return Err(AccountDataError::NotAnObject);
        }
        if content.len() > MAX_CONTENT {
            return Err(AccountDataError::TooLarge);
        }
        let mut conn = self.store.read().await?;
        let present = account_data::find(&mut conn, &actor.user_id, room, kind).await?;
        // Setting the same content again appends nothing, so clients are not told about it.
        if present.as_ref().is_some_and(|data| data.content == content) {
            return Ok(());
        }
        // Concurrent requests may each find space left; rate limits bound how many there are.
        let usage = account_data::usage(&mut conn, &actor.user_id, room).await?;
        if present.is_none() && usage.types >= self.totals.account_data_types {
            return Err(AccountDataError::TooMany);
        }
        let bytes = |content: &str| {
            i64::try_from(content.len()).unwrap_or(i64::MAX).saturating_add(account_data::ROW_BYTES)
        };
        let growth = bytes(content) - present.map_or(0, |data| bytes(&data.content));
        if growth > 0 && usage.bytes.saturating_add(growth) > self.totals.account_data_bytes {
            return Err(AccountDataError::Full);
        }
        drop(conn);
        let mut append = Append::new();
        guard_actor(&mut append, actor);
        put_account_data(&mut append, &actor.user_id, room, kind, content.to_owned());
        self.writer.append(append).await?;
        Ok(())
    }
}
