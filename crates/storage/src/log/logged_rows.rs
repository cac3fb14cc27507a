//! Reads the rows that other nodes wrote, once for all caches of this node that follow the log.

use std::collections::{BTreeSet, HashMap};

use stoa_base::{Pos, RoomNid};

use super::{LogReader, LoggedBatch, Stream, Topic, Touched, reader::READ_LIMIT};
use crate::{
    Conn, Error, Result,
    repo::{
        events::{self, EventInRoom, StoredEventRow},
        memberships::{self, StoredMembership},
        rooms::RoomHeadRow,
        state::{self, StateChange},
    },
};

/// How many rows of one table are read at once.
const ROWS: usize = 2_048;

/// How many bytes of events are read at once. It is more than a node writes in one batch.
const EVENT_BYTES: i64 = 8 << 20;

/// The rows that a range of the log wrote, as far as a node's caches keep such rows.
///
/// A row that was overwritten later appears as it was when it was read, which may be newer than the
/// range.
#[derive(Debug)]
pub struct LoggedRows {
    after: Pos,
    up_to: Pos,
    as_of: Pos,
    events: Vec<StoredEventRow>,
    rooms: HashMap<RoomNid, RoomHeadRow>,
    state_changes: Vec<(RoomNid, StateChange)>,
    memberships: HashMap<String, Vec<StoredMembership>>,
}

/// The rows of one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchRows<'a> {
    /// The events that entered their rooms' timelines, in order.
    pub events: &'a [StoredEventRow],
    /// The changes of current state, in order.
    pub state_changes: &'a [(RoomNid, StateChange)],
    /// The room rows of these events, as of `as_of`.
    pub rooms: &'a HashMap<RoomNid, RoomHeadRow>,
    /// The head of the log when the room rows were read.
    pub as_of: Pos,
    /// For each user whose memberships changed, all of their memberships that became current after
    /// the range began, and those of forgotten rooms. Empty if there were too many.
    pub memberships: &'a HashMap<String, Vec<StoredMembership>>,
}

impl LoggedRows {
    /// The rows of a batch. `None` if not all of them were read, or if a newer version may have
    /// changed more than these rows show.
    pub fn of(&self, batch: &LoggedBatch) -> Option<BatchRows<'_>> {
        let (prev, last) = (batch.prev, batch.last);
        if !batch.touched.as_ref().is_some_and(is_understood) {
            return None;
        }
        (self.after <= prev && last <= self.up_to).then(|| BatchRows {
            events: between(&self.events, position, prev, last),
            state_changes: between(&self.state_changes, |(_, change)| change.pos, prev, last),
            rooms: &self.rooms,
            as_of: self.as_of,
            memberships: &self.memberships,
        })
    }
}

/// Whether the batch names only streams that this version knows. An unknown stream is read as all
/// streams, and that is the only way in which a user's timeline or a room's membership can be
/// named.
fn is_understood(touched: &Touched) -> bool {
    !touched.iter().any(|change| {
        matches!(change, (Stream::Timeline, Topic::User(_)) | (Stream::Membership, Topic::Room(_)))
    })
}

fn position(event: &StoredEventRow) -> Pos {
    event.pos.unwrap_or(Pos::START)
}

/// The rows after `prev` and up to `last`; `rows` must be in order.
fn between<T>(rows: &[T], pos: impl Fn(&T) -> Pos, prev: Pos, last: Pos) -> &[T] {
    let begin = rows.partition_point(|row| pos(row) <= prev);
    let end = rows.partition_point(|row| pos(row) <= last);
    rows.get(begin..end).unwrap_or_default()
}

impl LogReader {
    /// Reads what these consecutive batches wrote, with one statement for all messages. If there is
    /// too much, the last batches are left out.
    pub async fn rows(&mut self, batches: &[LoggedBatch]) -> Result<LoggedRows> {
        let wanted = Wanted::of(batches);
        // Taken, so that it is dropped if reading fails or is cancelled halfway.
        let mut conn = self.conn.take();
        let store = &self.store;
        let reading = async move {
            let mut conn = match conn.take() {
                Some(conn) => conn,
                None => store.dedicated().await?,
            };
            let rows = wanted.read(&mut conn).await?;
            Ok::<_, Error>((conn, rows))
        };
        let read = tokio::time::timeout(READ_LIMIT, reading).await;
        let (conn, rows) = read.map_err(|_| Error::Timeout("reading rows of the log"))??;
        self.conn = Some(conn);
        Ok(rows)
    }
}

/// What the batches say that they wrote.
#[derive(Default)]
struct Wanted {
    after: Pos,
    up_to: Pos,
    has_events: bool,
    /// The rooms whose state changed.
    rooms: BTreeSet<RoomNid>,
    /// The users whose memberships changed.
    users: BTreeSet<String>,
}

impl Wanted {
    fn of(batches: &[LoggedBatch]) -> Self {
        let mut wanted = Self {
            after: batches.first().map_or(Pos::START, |batch| batch.prev),
            up_to: batches.last().map_or(Pos::START, |batch| batch.last),
            ..Self::default()
        };
        for (stream, topic) in
            batches.iter().filter_map(|batch| batch.touched.as_ref()).flat_map(Touched::iter)
        {
            match (stream, topic) {
                (Stream::Timeline, _) => wanted.has_events = true,
                (Stream::State, Topic::Room(room)) => {
                    wanted.rooms.insert(RoomNid(*room));
                }
                (Stream::Membership, Topic::User(user)) => {
                    wanted.users.insert(user.clone());
                }
                _ => {}
            }
        }
        wanted
    }

    async fn read(self, conn: &mut Conn) -> Result<LoggedRows> {
        let Self { after, mut up_to, .. } = self;
        let limit = i64::try_from(ROWS + 1).unwrap_or(i64::MAX);

        let mut as_of = after;
        let mut events = Vec::new();
        let mut rooms = HashMap::new();
        if self.has_events {
            let found = events::entered(conn, after, up_to, limit, EVENT_BYTES).await?;
            for EventInRoom { event, room, as_of: read_at } in found {
                if events.len() >= ROWS || event.json.is_empty() {
                    up_to = Pos(position(&event).0 - 1);
                    break;
                }
                as_of = read_at;
                rooms.insert(room.nid, room);
                events.push(event);
            }
        }
        let mut state_changes = Vec::new();
        if !self.rooms.is_empty() {
            state_changes = state::changes_in_rooms(conn, self.rooms, after, up_to, limit).await?;
            if let Some((_, left_out)) = state_changes.get(ROWS) {
                up_to = Pos(left_out.pos.0 - 1);
            }
        }
        let mut memberships: HashMap<String, Vec<StoredMembership>> = HashMap::new();
        if !self.users.is_empty() {
            let rows = memberships::newer_or_forgotten(conn, self.users, after, limit).await?;
            if rows.len() <= ROWS {
                for row in rows {
                    memberships.entry(row.user_id.clone()).or_default().push(row);
                }
            }
        }
        Ok(LoggedRows { after, up_to, as_of, events, rooms, state_changes, memberships })
    }
}
