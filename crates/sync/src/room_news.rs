//! The news of rooms, complete and consistent for each room, for every kind of sync.
//!
//! The caller chooses the rooms and a [`Span`] of each, says what the client [`Wants`], and
//! arranges the [`RoomNews`] that it gets.
//!
//! # The order of reading
//!
//! The kinds of news are read one after another, for all rooms together, because later ones depend
//! on earlier ones:
//!
//! 1. *Timelines* come first. What they show decides what else has to be sent.
//! 2. *Changes of state*. For users who have left, these include what the timeline still shows
//!    them.
//! 3. *Summaries* of the rooms in which these changes affect the members or the name.
//! 4. *State*, up to where the timeline begins. If members are loaded lazily, it contains the
//!    senders of the timeline's events and the heroes of the summary.
//! 5. The timeline is *cut* if its state events would lead the client to a state that differs from
//!    the room's. The state that was chosen in step 4 already begins at the cut.
//!
//! Account data, receipts and typing depend on nothing else. Finally, the events of the
//! timelines and the state are serialized for the client, and their members are recorded as known
//! to a device that loads members lazily. Both need the timelines after the cut.

mod beside;
mod written;

use serde_json::value::RawValue;
use stoa_base::Pos;
use stoa_rooms::tokens::PaginationToken;

pub use self::beside::Beside;
use self::written::Written;
pub use crate::news::summary::Summary;
use crate::{
    Reader, Result, Sources,
    known_members::SentMembers,
    news::{
        account_data::RoomAccountData,
        deltas::deltas,
        receipts::ReceiptReader,
        state::{StateNews, StateReader, members},
        summary::SummaryReader,
        timeline::{Timeline, TimelineReader},
        typing::TypingLists,
    },
    span::{ByRoom, KnownState, Span},
    wants::Wants,
};

/// An event as the client gets it.
pub type Json = Box<RawValue>;

/// What the caller asks about rooms.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The rooms, and which stretch of each.
    pub spans: &'a [Span],
    /// What the client wants to know about them.
    pub wants: &'a Wants<'a>,
    /// What was read once for all rooms.
    pub beside: &'a Beside,
    /// The position in the log of the token that the client presented; None if it presented none.
    pub since: Option<Pos>,
    /// The log position of the token that the client gets with the answer.
    pub head: Pos,
}

/// The news of one room.
#[derive(Debug)]
pub struct RoomNews {
    /// The events of the timeline, oldest first.
    pub timeline: Vec<Json>,
    /// Whether there are older events that the client lacks.
    pub limited: bool,
    /// The gap before the first event, as a token from which to page back.
    pub prev_batch: PaginationToken,
    /// What the client has to know of the room's state, oldest first.
    pub state: Vec<Json>,
    /// The member counts and the heroes, if they changed.
    pub summary: Option<Summary>,
    /// Typing notifications and receipts.
    pub ephemeral: Vec<Json>,
    /// The reader's account data for the room.
    pub account_data: Vec<Json>,
}

impl RoomNews {
    /// Whether there is no news.
    pub fn is_empty(&self) -> bool {
        self.timeline.is_empty()
            && !self.limited
            && self.state.is_empty()
            && self.summary.is_none()
            && self.ephemeral.is_empty()
            && self.account_data.is_empty()
    }
}

/// The news of each room, in the order of the spans.
#[tracing::instrument(level = "debug", skip_all, fields(rooms = question.spans.len()))]
pub async fn room_news<'a>(
    sources: &Sources,
    reader: &Reader,
    question: Question<'a>,
) -> Result<impl Iterator<Item = (&'a Span, RoomNews)>> {
    let Question { spans, wants, beside, .. } = question;
    let Sources { store, rooms, changes, read_state, heroes, known, .. } = sources;
    let mut timelines =
        TimelineReader { rooms, changes, wants: &wants.timeline }.read(reader, spans).await?;
    let deltas = deltas(rooms, changes, reader, spans, &timelines).await?;
    let mut summaries =
        SummaryReader { rooms, changes, heroes, deltas: &deltas }.read(reader, spans).await?;
    let mut states = StateReader {
        rooms,
        wants: &wants.state,
        timelines: &timelines,
        summaries: &summaries,
        deltas: &deltas,
        known,
    }
    .read(reader, spans)
    .await?;
    for (room, state) in &states {
        if let (Some(pos), Some(timeline)) = (state.cut, timelines.get_mut(room)) {
            timeline.cut(pos);
        }
    }

    let mut account_data =
        RoomAccountData { store, filter: &wants.account_data, data: &beside.account_data }
            .read(reader, spans)
            .await?;
    let mut receipts =
        ReceiptReader { read_state, changes, filter: &wants.ephemeral }.read(reader, spans).await?;
    let mut typing =
        TypingLists { typing: &sources.typing, changes: &beside.typing, filter: &wants.ephemeral }
            .read(spans);

    let mut written = Written::new(rooms, reader, question, &timelines, &states).await?;
    // Members are recorded only now: if the request is cancelled while the events are being
    // serialized, nothing was sent.
    if wants.state.members.are_lazy() {
        note_members(sources, reader, question, &timelines, &states);
    }
    Ok(spans.iter().filter_map(move |span| {
        let room = span.room.nid;
        let timeline = timelines.remove(&room)?;
        let state = states.remove(&room).unwrap_or_default();
        let typing = typing.remove(&room).into_iter();
        let news = RoomNews {
            timeline: written.take_timeline(timeline.events.len()),
            limited: timeline.limited,
            prev_batch: PaginationToken(timeline.start),
            state: written.take_state(state.events.len()),
            summary: summaries.remove(&room),
            ephemeral: typing.chain(receipts.remove(&room).unwrap_or_default()).collect(),
            account_data: account_data.remove(&room).unwrap_or_default(),
        };
        Some((span, news))
    }))
}

/// Records which member events the device will have.
fn note_members(
    sources: &Sources,
    reader: &Reader,
    question: Question<'_>,
    timelines: &ByRoom<Timeline>,
    states: &ByRoom<StateNews>,
) {
    let Question { spans, since, head, .. } = question;
    let shown = timelines.values().flat_map(|timeline| &timeline.events);
    let told = states.values().flat_map(|state| &state.events);
    let events = members(shown.map(|(event, _)| event).chain(told));
    let anew = spans.iter().filter(|span| span.state == KnownState::Nothing);
    let anew = &anew.map(|span| span.room.nid).collect();
    sources.known.sent(&reader.device, SentMembers { since, token: head, anew, events });
}
