//! The reader's account data, global and per room.

use std::collections::HashMap;

use ruma::events::GlobalAccountDataEventType;
use serde_json::value::RawValue;
use stoa_base::{Pos, RoomNid};
use stoa_storage::{
    Store,
    log::Stream,
    repo::account_data::{self, StoredAccountData},
};

use crate::{
    ChangeIndex, Reader, Result,
    filter::EventFilter,
    news::EphemeralEvent,
    span::{ByRoom, KnownState, Span},
};

/// The account data that is new to the client.
#[derive(Debug, Default)]
pub(crate) struct ChangedAccountData {
    global: Vec<StoredAccountData>,
    of_rooms: HashMap<RoomNid, Vec<StoredAccountData>>,
    /// Whether this is all the account data that exists.
    is_all: bool,
}

impl From<Vec<StoredAccountData>> for ChangedAccountData {
    fn from(rows: Vec<StoredAccountData>) -> Self {
        let mut data = Self::default();
        for row in rows {
            match row.room {
                Some(room) => data.of_rooms.entry(room).or_default().push(row),
                None => data.global.push(row),
            }
        }
        data
    }
}

impl ChangedAccountData {
    /// Reads what was set after `since`, or everything without `since`.
    pub(crate) async fn read(
        store: &Store,
        changes: &ChangeIndex,
        reader: &Reader,
        since: Option<Pos>,
    ) -> Result<Self> {
        if since.is_some_and(|since| {
            !changes.may_have_changed(&reader.topic, &[Stream::AccountData], since)
        }) {
            return Ok(Self::default());
        }
        // Data newer than the answer's token is sent now and again with the next answer.
        let (after, up_to) = (since.unwrap_or(Pos::START), Pos(i64::MAX));
        let (mut conn, user_id) = (store.read().await?, &reader.user_id);
        let bytes = account_data::bytes_changed(&mut conn, user_id, after, up_to).await?;
        if bytes == 0 {
            return Ok(Self { is_all: since.is_none(), ..Self::default() });
        }
        take(reader, bytes)?;
        let rows = match since {
            Some(_) => account_data::changed(&mut conn, user_id, after, up_to).await?,
            None => account_data::all(&mut conn, user_id).await?,
        };
        Ok(Self { is_all: since.is_none(), ..rows.into() })
    }

    /// The rooms with new account data.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.of_rooms.keys().copied()
    }

    /// The global account data that the filter lets through.
    pub(crate) fn global(&self, filter: &EventFilter<'_>) -> Vec<Box<RawValue>> {
        let shown = self.global.iter().filter(|row| filter.passes_type(&row.kind));
        shown.filter_map(to_event).collect()
    }

    /// The default push rules, if the reader has not set any.
    pub(crate) fn default_push_rules(
        &self,
        filter: &EventFilter<'_>,
        reader: &Reader,
    ) -> Option<Box<RawValue>> {
        let kind = GlobalAccountDataEventType::PushRules.to_string();
        if self.global.iter().any(|row| row.kind == kind) || !filter.passes_type(&kind) {
            return None;
        }
        let content = HashMap::from([("global", stoa_push::rules(&reader.user_id))]);
        EphemeralEvent { kind: &kind, content }.to_json()
    }
}

/// Account data of rooms.
pub(crate) struct RoomAccountData<'a> {
    pub(crate) store: &'a Store,
    pub(crate) filter: &'a EventFilter<'a>,
    /// The account data that was read for all rooms at once.
    pub(crate) data: &'a ChangedAccountData,
}

impl RoomAccountData<'_> {
    /// The events of each room.
    pub(crate) async fn read(
        &self,
        reader: &Reader,
        spans: &[Span],
    ) -> Result<ByRoom<Vec<Box<RawValue>>>> {
        let spans = || spans.iter().filter(|span| self.filter.is_about(&span.room.id));
        // The client was not sent what was set while the reader was not in the room.
        let lacks_older = |span: &Span| !self.data.is_all && span.state == KnownState::Nothing;
        let lacking = spans().filter(|span| lacks_older(span)).map(|span| span.room.nid).collect();
        let older = self.of_rooms(reader, lacking).await?;
        let mut news = ByRoom::new();
        for span in spans() {
            let data = if lacks_older(span) { &older } else { self.data };
            let rows = data.of_rooms.get(&span.room.nid);
            let shown = rows.into_iter().flatten().filter(|row| self.filter.passes_type(&row.kind));
            let events: Vec<Box<RawValue>> = shown.filter_map(to_event).collect();
            if !events.is_empty() {
                news.insert(span.room.nid, events);
            }
        }
        Ok(news)
    }
}

impl RoomAccountData<'_> {
    /// All account data of these rooms, however old.
    async fn of_rooms(&self, reader: &Reader, rooms: Vec<RoomNid>) -> Result<ChangedAccountData> {
        if rooms.is_empty() {
            return Ok(ChangedAccountData::default());
        }
        let (mut conn, user_id) = (self.store.read().await?, &reader.user_id);
        let bytes = account_data::bytes_of_rooms(&mut conn, user_id, &rooms).await?;
        if bytes == 0 {
            return Ok(ChangedAccountData::default());
        }
        take(reader, bytes)?;
        Ok(account_data::of_rooms(&mut conn, user_id, &rooms).await?.into())
    }
}

/// Charges for the memory of account data before it is read: once for the rows and once for the
/// answer.
fn take(reader: &Reader, bytes: i64) -> Result<()> {
    Ok(reader.allowance.take(2 * bytes.unsigned_abs())?)
}

fn to_event(row: &StoredAccountData) -> Option<Box<RawValue>> {
    // What is stored is valid JSON.
    let content: &RawValue = serde_json::from_str(&row.content).ok()?;
    EphemeralEvent { kind: &row.kind, content }.to_json()
}
