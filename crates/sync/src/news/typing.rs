//! Who is typing.
//!
//! Typing lists have their own counter, which may start over when the server restarts. A client
//! whose token is from an earlier run of the counter is sent the lists of all rooms where somebody
//! is typing now. If the client may still be showing somebody as typing, it is sent the lists of
//! all its rooms, so that nobody appears to type forever.
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
    news::EphemeralEvent,
    span::{ByRoom, Span},
};

const KIND: &str = "m.typing";

/// The rooms whose typing list differs from the one that the client knows.
#[derive(Debug, Default)]
pub(crate) struct TypingChanges {
    lists: HashMap<RoomNid, Vec<OwnedUserId>>,
    /// The position that the client will have after this.
    pub(crate) position: EphemeralPosition,
}

impl TypingChanges {
    /// Compares the lists of the joined rooms with what the client knows.
    pub(crate) fn look(
        typing: &Typing,
        joined: impl Iterator<Item = RoomNid> + Clone,
        known: Option<EphemeralPosition>,
    ) -> Self {
        // The position is taken first: lists that change while this runs are sent again.
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

    /// The rooms whose list has changed.
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
    /// The `m.typing` event of each room. This reads only memory.
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
                // In a room that is new to the client, a list that did not change is news too.
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
