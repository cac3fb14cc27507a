//! How far users have read: public and private read receipts, with or without a thread, and the
//! fully-read marker, which is account data of the room.
//!
//! Marks only move forward, in the room's own order. They are written through the log, so that they
//! are announced and coalesced like everything else.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#receipts>

mod thread;

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId, OwnedUserId, UserId, events::receipt::ReceiptThread};
use stoa_base::{Actor, Clock, Pos, RoomNid};
use stoa_rooms::{Event, Room, RoomError, Rooms};
use stoa_storage::{
    Error, Store,
    log::{Append, AppendError, Guard, ReceiptRow, Stream, Writer},
    repo::{
        account_data,
        receipts::{self, StoredReceipt},
    },
};
use tokio::sync::Mutex;

/// The type of the account data that holds the fully-read marker.
const FULLY_READ: &str = "m.fully_read";

/// How many receipts of a room are given to a reader who knows none of them.
const MAX_NEWEST: i64 = 1_000;

/// The number of locks that serialize the marks of users.
const LANES: usize = 64;

/// Why a mark was not moved.
#[derive(Debug, thiserror::Error)]
pub enum ReadStateError {
    /// The user is not in the room.
    #[error("You are not in this room")]
    NotInRoom,
    /// The event is not in this thread, or the mark cannot have a thread.
    #[error("{0}")]
    InvalidThread(&'static str),
    /// Something about the room or the event failed.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The append failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

type Result<T, E = ReadStateError> = std::result::Result<T, E>;

/// The kind of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// `m.read`: visible to others.
    Read,
    /// `m.read.private`: visible only to the user's own devices.
    ReadPrivate,
    /// `m.fully_read`: where the user wants to continue reading.
    FullyRead,
}

impl MarkKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "m.read",
            Self::ReadPrivate => "m.read.private",
            Self::FullyRead => FULLY_READ,
        }
    }
}

/// How far a user has read.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    /// The kind of the mark.
    pub kind: MarkKind,
    /// The last event that was read.
    pub event_id: &'a EventId,
    /// The thread.
    pub thread: &'a ReceiptThread,
}

/// A receipt, as returned to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// `m.read` or `m.read.private`.
    pub kind: String,
    /// The user who has read.
    pub user_id: OwnedUserId,
    /// `main` or the root of a thread; `None` for an unthreaded receipt.
    pub thread: Option<String>,
    /// The last event that was read.
    pub event_id: OwnedEventId,
    /// When the user read the event, in milliseconds since the Unix epoch.
    pub ts: i64,
    /// The position in the log at which it was set.
    pub pos: Pos,
}

/// The read receipts and markers of all users.
#[derive(Debug)]
pub struct ReadState {
    store: Store,
    writer: Writer,
    rooms: Arc<Rooms>,
    clock: Clock,
    /// Locks by user, so that a user's marks are compared and moved one after the other.
    lanes: [Mutex<()>; LANES],
}

impl ReadState {
    /// The read state of these rooms.
    pub fn new(store: Store, writer: Writer, rooms: Arc<Rooms>, clock: Clock) -> Self {
        Self { store, writer, rooms, clock, lanes: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Moves the actor's marks in a room, except any that would move back, and returns once they
    /// are flushed.
    pub async fn mark(&self, actor: &Actor, room: &Room, marks: &[Mark<'_>]) -> Result<()> {
        let membership = self.rooms.memberships.in_room(&actor.user_id, room).await?;
        if !membership.is_some_and(|membership| membership.is_joined()) {
            return Err(ReadStateError::NotInRoom);
        }
        let mut wanted = Vec::with_capacity(marks.len());
        for mark in marks {
            let (event, _) =
                self.rooms.visibility.event(&actor.user_id, room, mark.event_id).await?;
            let thread = self.thread(mark, &event).await?;
            wanted.push((mark.kind, event, thread));
        }

        let _in_turn = self.lane(&actor.user_id).lock().await;
        let mut append = Append::new();
        for (kind, event, thread) in wanted {
            let present = self.present(&actor.user_id, room, kind, thread).await?;
            if self.moves_forward(present.as_deref(), &event).await? {
                self.put(&mut append, actor, room, kind, &event, thread);
            }
        }
        if append.receipts.is_empty() && append.account_data.is_empty() {
            return Ok(());
        }
        append.guards.extend(actor.session_id.clone().map(Guard::Session));
        self.writer.append(append).await?;
        Ok(())
    }

    /// The receipts of these rooms that were set after `since` and up to `up_to`, oldest first,
    /// with private receipts only of `reader`. At most `most` are read. If that many are returned,
    /// others may be missing, and a reader who continues from `up_to` never gets those.
    pub async fn receipts_changed(
        &self,
        reader: &UserId,
        rooms: &[RoomNid],
        since: Pos,
        up_to: Pos,
        most: i64,
    ) -> Result<HashMap<RoomNid, Vec<Receipt>>, Error> {
        let mut conn = self.store.read().await?;
        let rows = receipts::changed(&mut conn, reader, rooms, since, up_to, most).await?;
        let mut changed = HashMap::new();
        add(&mut changed, rows)?;
        Ok(changed)
    }

    /// The receipts of these rooms up to `up_to` for a reader who knows none of them, oldest first:
    /// the newest thousand of each room and all of the reader's own, with private receipts only of
    /// `reader`. At most `most` are read. If that many are returned, others may be missing.
    pub async fn newest_receipts(
        &self,
        reader: &UserId,
        rooms: &[RoomNid],
        up_to: Pos,
        most: i64,
    ) -> Result<HashMap<RoomNid, Vec<Receipt>>, Error> {
        let mut conn = self.store.read().await?;
        let rows = receipts::newest(&mut conn, reader, rooms, up_to, MAX_NEWEST, most).await?;
        let left = most.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let mut newest = HashMap::new();
        add(&mut newest, rows)?;
        let is_full = |receipts: &Vec<Receipt>| i64::try_from(receipts.len()) == Ok(MAX_NEWEST);
        let full = newest.iter().filter(|(_, receipts)| is_full(receipts));
        let full: Vec<RoomNid> = full.map(|(room, _)| *room).collect();
        if !full.is_empty() {
            let oldest = |room: &RoomNid| newest.get(room)?.first().map(|receipt| receipt.pos);
            let mut own = receipts::of_user(&mut conn, reader, &full, up_to, left).await?;
            // If receipts may be missing, duplicates are kept, so that the number of receipts
            // reaches `most` and tells the caller.
            let are_all = i64::try_from(own.len()).is_ok_and(|len| len < left);
            let is_new = |row: &StoredReceipt| oldest(&row.room).is_some_and(|at| row.pos < at);
            own.retain(|row| !are_all || is_new(row));
            add(&mut newest, own)?;
            for room in &full {
                if let Some(receipts) = newest.get_mut(room) {
                    receipts.sort_unstable_by_key(|receipt| receipt.pos);
                }
            }
        }
        Ok(newest)
    }

    fn lane(&self, user_id: &UserId) -> &Mutex<()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(user_id);
        let lane = usize::try_from(hash % LANES as u64).unwrap_or_default();
        let [first, ..] = &self.lanes;
        self.lanes.get(lane).unwrap_or(first)
    }

    /// The event that a mark of the user points to now.
    async fn present(
        &self,
        user_id: &UserId,
        room: &Room,
        kind: MarkKind,
        thread: &str,
    ) -> Result<Option<OwnedEventId>> {
        let mut conn = self.store.read().await?;
        let event_id = if kind == MarkKind::FullyRead {
            let data = account_data::find(&mut conn, user_id, Some(room.nid), FULLY_READ).await?;
            data.and_then(|data| serde_json::from_str::<FullyRead>(&data.content).ok())
                .map(|marker| marker.event_id)
        } else {
            let receipt =
                receipts::find(&mut conn, room.nid, kind.as_str(), user_id, thread).await?;
            receipt.map(|receipt| receipt.event_id)
        };
        Ok(event_id.and_then(|event_id| OwnedEventId::try_from(event_id).ok()))
    }

    /// Whether `event` comes after the event `present` in the room's order.
    async fn moves_forward(&self, present: Option<&EventId>, event: &Event) -> Result<bool> {
        let Some(present) = present else { return Ok(true) };
        let present = self.rooms.unchecked_events.by_id(present).await?;
        Ok(present.is_none_or(|present| present.order < event.order))
    }

    fn put(
        &self,
        append: &mut Append,
        actor: &Actor,
        room: &Room,
        kind: MarkKind,
        event: &Event,
        thread: &str,
    ) {
        let event_id = event.pdu.event_id.to_string();
        if kind == MarkKind::FullyRead {
            let content = serde_json::json!({ "event_id": event_id }).to_string();
            let room = Some(room.nid);
            stoa_accounts::put_account_data(append, &actor.user_id, room, FULLY_READ, content);
            return;
        }
        let pos = append.next_pos();
        append.touched.add(Stream::Receipts, room.nid);
        append.receipts.push(ReceiptRow {
            room_nid: room.nid,
            kind: kind.as_str().to_owned(),
            user_id: actor.user_id.to_string(),
            thread: thread.to_owned(),
            event_id,
            ts: self.clock.now_ms(),
            pos,
        });
    }
}

fn add(
    receipts: &mut HashMap<RoomNid, Vec<Receipt>>,
    rows: Vec<StoredReceipt>,
) -> Result<(), Error> {
    for row in rows {
        receipts.entry(row.room).or_default().push(Receipt {
            kind: row.kind,
            user_id: OwnedUserId::try_from(row.user_id).map_err(Error::corrupt)?,
            thread: (!row.thread.is_empty()).then_some(row.thread),
            event_id: OwnedEventId::try_from(row.event_id).map_err(Error::corrupt)?,
            ts: row.ts,
            pos: row.pos,
        });
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct FullyRead {
    event_id: String,
}
