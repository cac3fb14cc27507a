//! What the reader keeps on the server, in general and for rooms.

use std::collections::HashMap;

use ruma::{
    api::client::filter::{Filter, RoomEventFilter},
    events::GlobalAccountDataEventType,
};
use serde_json::value::RawValue;
use stoa_base::{Pos, RoomNid};
use stoa_storage::{
    Store,
    log::Stream,
    repo::account_data::{self, StoredAccountData},
};

use crate::{
    ChangeIndex, Reader, Result,
    filter::{is_about, passes_global, passes_type},
    span::{ByRoom, KnownState, Span},
    stream::{EphemeralEvent, RoomStream},
};

/// What the reader's account data says anew.
#[derive(Debug, Default)]
pub(crate) struct AccountData {
    global: Vec<StoredAccountData>,
    of_rooms: HashMap<RoomNid, Vec<StoredAccountData>>,
}

impl AccountData {
    /// Reads what was set after `since`, or all.
    pub(crate) async fn read(
        store: &Store,
        changes: &ChangeIndex,
        reader: &Reader,
        since: Option<Pos>,
    ) -> Result<Self> {
        let rows = match since {
            Some(since)
                if !changes.may_have_changed(&reader.topic, &[Stream::AccountData], since) =>
            {
                Vec::new()
            }
            // What is newer than the answer is given now and once more.
            Some(since) => {
                let end = Pos(i64::MAX);
                account_data::changed(&mut store.read().await?, &reader.user_id, since, end).await?
            }
            None => account_data::all(&mut store.read().await?, &reader.user_id).await?,
        };
        let mut data = Self::default();
        for row in rows {
            match row.room {
                Some(room) => data.of_rooms.entry(room).or_default().push(row),
                None => data.global.push(row),
            }
        }
        Ok(data)
    }

    /// How many bytes it takes, here and in the answer.
    pub(crate) fn bytes(&self) -> u64 {
        let rows = self.global.iter().chain(self.of_rooms.values().flatten());
        rows.map(|row| 2 * row.content.len() as u64).sum()
    }

    /// The rooms for which something was set.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.of_rooms.keys().copied()
    }

    /// The global account data that the filter lets through.
    pub(crate) fn global(&self, filter: &Filter) -> Vec<Box<RawValue>> {
        let shown = self.global.iter().filter(|row| passes_global(filter, &row.kind));
        shown.filter_map(to_event).collect()
    }

    /// The push rules that hold for the reader, where they have not set any themselves.
    pub(crate) fn default_push_rules(
        &self,
        filter: &Filter,
        reader: &Reader,
    ) -> Option<Box<RawValue>> {
        let kind = GlobalAccountDataEventType::PushRules.to_string();
        if self.global.iter().any(|row| row.kind == kind) || !passes_global(filter, &kind) {
            return None;
        }
        let content = HashMap::from([("global", stoa_push::rules(&reader.user_id))]);
        EphemeralEvent { kind: &kind, content }.to_json()
    }
}

/// Account data for rooms.
pub(crate) struct RoomAccountData<'a> {
    pub(crate) store: &'a Store,
    pub(crate) filter: &'a RoomEventFilter,
    /// What was read for all rooms.
    pub(crate) data: &'a AccountData,
    /// Whether that is all that there is.
    pub(crate) is_all: bool,
}

impl RoomStream for RoomAccountData<'_> {
    type News = Vec<Box<RawValue>>;

    async fn read(&self, reader: &Reader, spans: &[Span]) -> Result<ByRoom<Vec<Box<RawValue>>>> {
        let mut news = ByRoom::new();
        for span in spans.iter().filter(|span| is_about(self.filter, &span.room.id)) {
            let older;
            let rows = if self.is_all || span.state != KnownState::Nothing {
                self.data.of_rooms.get(&span.room.nid)
            } else {
                // What was set while the reader was not in the room was not told.
                let mut conn = self.store.read().await?;
                let room = Some(span.room.nid);
                older = account_data::of_room(&mut conn, &reader.user_id, room).await?;
                Some(&older)
            };
            let shown =
                rows.into_iter().flatten().filter(|row| passes_type(self.filter, &row.kind));
            let events: Vec<Box<RawValue>> = shown.filter_map(to_event).collect();
            if !events.is_empty() {
                news.insert(span.room.nid, events);
            }
        }
        Ok(news)
    }
}

fn to_event(row: &StoredAccountData) -> Option<Box<RawValue>> {
    // What was stored was JSON.
    let content: &RawValue = serde_json::from_str(&row.content).ok()?;
    EphemeralEvent { kind: &row.kind, content }.to_json()
}
