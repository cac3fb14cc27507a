//! Finds the thread that an event is in.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#threading>

use std::sync::Arc;

use ruma::{OwnedEventId, events::receipt::ReceiptThread};
use stoa_rooms::Event;

use super::{Mark, MarkKind, ReadState, ReadStateError, Result};

/// How many relations are followed to find the thread of an event, such as a reaction to an edit of
/// a message in a thread.
const MAX_HOPS: usize = 3;

#[derive(serde::Deserialize)]
struct Content {
    #[serde(rename = "m.relates_to")]
    relates_to: Relation,
}

#[derive(serde::Deserialize)]
struct Relation {
    rel_type: String,
    event_id: OwnedEventId,
}

impl ReadState {
    /// The name under which a mark's thread is stored: `main`, the root's event ID, or an empty
    /// string for an unthreaded mark. Checks that the event is in the thread.
    pub(super) async fn thread<'a>(&self, mark: &Mark<'a>, event: &Arc<Event>) -> Result<&'a str> {
        let Some(name) = mark.thread.as_str() else { return Ok("") };
        let refuse = |why| Err(ReadStateError::InvalidThread(why));
        if mark.kind == MarkKind::FullyRead {
            return refuse("The fully-read marker cannot have a thread");
        }
        let root = self.root(event).await?;
        let is_in_thread = match mark.thread {
            ReceiptThread::Main => root.is_none(),
            // The root is in the main timeline, but a new thread is read up to its root.
            ReceiptThread::Thread(thread) => {
                root.as_ref() == Some(thread) || event.pdu.event_id == *thread
            }
            _ => return refuse("`thread_id` is neither `main` nor an event ID"),
        };
        if is_in_thread { Ok(name) } else { refuse("The event is not in this thread") }
    }

    /// The root of the thread that an event is in.
    async fn root(&self, event: &Arc<Event>) -> Result<Option<OwnedEventId>> {
        let mut relation = relation(event);
        for _ in 0..MAX_HOPS {
            let Some(Relation { rel_type, event_id }) = relation else { return Ok(None) };
            if rel_type == "m.thread" {
                return Ok(Some(event_id));
            }
            let Some(target) = self.rooms.unchecked_events.by_id(&event_id).await? else {
                return Ok(None);
            };
            if target.room != event.room {
                return Ok(None);
            }
            relation = self::relation(&target);
        }
        Ok(relation.filter(|relation| relation.rel_type == "m.thread").map(|it| it.event_id))
    }
}

fn relation(event: &Event) -> Option<Relation> {
    serde_json::from_str::<Content>(event.pdu.content.get()).ok().map(|content| content.relates_to)
}
