//! Who is typing.
//!
//! The lists have a counter of their own, which may begin anew, when the server starts again. A
//! reader who knows the counter of another time is told of the rooms in which somebody is typing
//! now; where somebody was typing as far as that reader knows, of every room, so that nobody types forever.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#typing-notifications>

use std::collections::HashMap;

use ruma::OwnedUserId;
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_base::RoomNid;
use stoa_ephemeral::Typing;
use stoa_rooms::tokens::EphemeralPosition;

use crate::{
    filter::EventFilter,
    span::{ByRoom, Span},
    stream::EphemeralEvent,
};

const KIND: &str = "m.typing";

/// The rooms in which other users are typing than the reader knows.
#[derive(Debug, Default)]
pub(crate) struct TypingChanges {
    lists: HashMap<RoomNid, Vec<OwnedUserId>>,
    /// Up to where the reader is told.
    pub(crate) position: EphemeralPosition,
}

impl TypingChanges {
    /// Compares the lists of the rooms that the reader is in with what they know.
    pub(crate) fn look(
        typing: &Typing,
        joined: impl Iterator<Item = RoomNid> + Clone,
        known: Option<EphemeralPosition>,
    ) -> Self {
        // Lists that change meanwhile are told again.
        let mut position =
            EphemeralPosition { epoch: typing.epoch(), version: typing.version(), is_quiet: true };
        let lists: HashMap<RoomNid, Vec<OwnedUserId>> = match known {
            Some(known) if known.epoch == position.epoch => {
                if known.version == position.version {
                    return Self { lists: HashMap::new(), position: known };
                }
                let changed = joined.clone().filter_map(|room| {
                    typing.changed_since(room, known.version).map(|(_, users)| (room, users))
                });
                let lists: HashMap<_, Vec<_>> = changed.collect();
                position.is_quiet =
                    known.is_quiet || joined.clone().all(|room| is_quiet(typing, room));
                lists
            }
            known => {
                let is_quiet = known.is_none_or(|known| known.is_quiet);
                let all = joined.map(|room| (room, typing.typing(room).1));
                all.filter(|(_, users)| !is_quiet || !users.is_empty()).collect()
            }
        };
        position.is_quiet &= lists.values().all(Vec::is_empty);
        Self { lists, position }
    }

    /// The rooms that there is something to tell of.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.lists.keys().copied()
    }
}

fn is_quiet(typing: &Typing, room: RoomNid) -> bool {
    typing.typing(room).1.is_empty()
}

/// Who is typing in rooms.
pub(crate) struct TypingLists<'a> {
    pub(crate) typing: &'a Typing,
    pub(crate) changes: &'a TypingChanges,
    pub(crate) filter: &'a EventFilter<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    user_ids: &'a [OwnedUserId],
}

impl TypingLists<'_> {
    /// The `m.typing` event of each room. Who is typing is in memory.
    pub(crate) fn read(&self, spans: &[Span]) -> ByRoom<Box<RawValue>> {
        let mut news = ByRoom::new();
        if !self.filter.passes_type(KIND) {
            return news;
        }
        for span in spans.iter().filter(|span| span.end.is_none()) {
            if !self.filter.is_about(&span.room.id) {
                continue;
            }
            let changed = self.changes.lists.get(&span.room.nid).cloned();
            let list = changed.or_else(|| {
                // What did not change is news in a room that is.
                let (_, users) = self.typing.typing(span.room.nid);
                (span.after.is_none() && !users.is_empty()).then_some(users)
            });
            if let Some(user_ids) = list {
                let content = Content { user_ids: &user_ids };
                let event = EphemeralEvent { kind: KIND, content }.to_json();
                news.extend(event.map(|event| (span.room.nid, event)));
            }
        }
        news
    }
}
