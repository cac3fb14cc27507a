//! Read receipts, of other users and of the reader.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#receipts>

use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedUserId};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_base::{Pos, RoomNid};
use stoa_push::{ReadState, Receipt};
use stoa_storage::log::{Stream, Topic};

use crate::{
    ChangeIndex, Reader, Result,
    filter::EventFilter,
    news::EphemeralEvent,
    span::{ByRoom, Span},
};

pub(crate) struct ReceiptReader<'a> {
    pub(crate) read_state: &'a ReadState,
    pub(crate) changes: &'a ChangeIndex,
    pub(crate) filter: &'a EventFilter<'a>,
}

/// What an `m.receipt` says about one user.
#[derive(Serialize)]
struct Entry {
    ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<String>,
}

/// The content of an `m.receipt`: by event, by type, by user.
type Content = BTreeMap<OwnedEventId, BTreeMap<String, BTreeMap<OwnedUserId, Entry>>>;

impl ReceiptReader<'_> {
    /// The `m.receipt` events of each room.
    pub(crate) async fn read(
        &self,
        reader: &Reader,
        spans: &[Span],
    ) -> Result<ByRoom<Vec<Box<RawValue>>>> {
        let mut news = ByRoom::new();
        if !self.filter.passes_type(KIND) {
            return Ok(news);
        }
        // Rooms that are read from the same position are read together. There are at most two such
        // groups.
        let mut together: BTreeMap<(Pos, Pos), Vec<RoomNid>> = BTreeMap::new();
        for span in spans.iter().filter(|span| span.end.is_none()) {
            let since = span.after.unwrap_or(Pos::START);
            let topic = Topic::from(span.room.nid);
            if self.filter.is_about(&span.room.id)
                && self.changes.may_have_changed(&topic, &[Stream::Receipts], since)
            {
                together.entry((since, span.up_to)).or_default().push(span.room.nid);
            }
        }
        for ((since, up_to), rooms) in together {
            let (read_state, user_id) = (self.read_state, &reader.user_id);
            let most = reader.allowance.rows(RECEIPT);
            let changed = if since == Pos::START {
                read_state.newest_receipts(user_id, &rooms, up_to, most).await?
            } else {
                read_state.receipts_changed(user_id, &rooms, since, up_to, most).await?
            };
            let count = changed.values().map(|receipts| receipts.len() as u64).sum::<u64>();
            reader.allowance.take(RECEIPT * count)?;
            news.extend(changed.into_iter().map(|(room, receipts)| (room, to_events(receipts))));
        }
        Ok(news)
    }
}

const KIND: &str = "m.receipt";

/// How many bytes a receipt takes, roughly, both when it is read and in the answer.
const RECEIPT: u64 = 1_024;

/// Serializes receipts as events. There is one event unless a user has several receipts for the
/// same event, because one `m.receipt` can contain only one of them.
fn to_events(receipts: Vec<Receipt>) -> Vec<Box<RawValue>> {
    let mut contents: Vec<Content> = Vec::new();
    for receipt in receipts {
        let Receipt { kind, user_id, thread, event_id, ts, .. } = receipt;
        let is_taken = |content: &Content| {
            let users = content.get(&event_id).and_then(|kinds| kinds.get(&kind));
            users.is_some_and(|users| users.contains_key(&user_id))
        };
        let free = contents.iter().position(|content| !is_taken(content)).unwrap_or_else(|| {
            contents.push(Content::new());
            contents.len() - 1
        });
        let Some(content) = contents.get_mut(free) else { continue };
        let users = content.entry(event_id).or_default().entry(kind).or_default();
        users.insert(user_id, Entry { ts, thread_id: thread });
    }
    contents.iter().filter_map(|content| EphemeralEvent { kind: KIND, content }.to_json()).collect()
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_user_id};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn no_receipt_is_left_out() {
        let receipt = |kind: &str, thread: Option<&str>| Receipt {
            kind: kind.to_owned(),
            user_id: owned_user_id!("@a:x"),
            thread: thread.map(str::to_owned),
            event_id: owned_event_id!("$e"),
            ts: 5,
            pos: Pos(1),
        };
        let receipts = vec![
            receipt("m.read", None),
            receipt("m.read", Some("main")),
            receipt("m.read.private", Some("main")),
        ];
        let events: Vec<Value> = to_events(receipts)
            .iter()
            .map(|event| serde_json::from_str(event.get()).unwrap())
            .collect();
        let in_thread = json!({ "@a:x": { "ts": 5, "thread_id": "main" } });
        let first = json!({
            "$e": { "m.read": { "@a:x": { "ts": 5 } }, "m.read.private": in_thread },
        });
        assert_eq!(
            events,
            [
                json!({ "type": "m.receipt", "content": first }),
                json!({ "type": "m.receipt", "content": { "$e": { "m.read": in_thread } } }),
            ]
        );
    }
}
