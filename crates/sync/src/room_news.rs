//! The news of rooms, each complete and consistent, whatever way to sync they are for.
//!
//! A way to sync chooses the rooms and a [`Span`] of each, says what its client [`Wants`], and
//! arranges the [`RoomNews`] that it gets.
//!
//! # The order of streams
//!
//! Streams are read one after another, for all rooms together, since one follows from another:
//!
//! 1. *Timelines* come first. What is shown there decides what else has to be told.
//! 2. *How the state changed*, which for those who have left includes what the timeline still shows
//!    them.
//! 3. *Summaries*, of the rooms of which that changes the members or the name.
//! 4. *State*, up to where the timeline begins. Where members are loaded lazily, those are told who
//!    sent what the timeline shows, and those by whom the summary calls the room.
//! 5. The timeline is *cut* where its state events would lead to another state than the room's. What
//!    was told of the state begins at the cut already.
//!
//! Account data, receipts and typing depend on nothing. Last, what the timelines and the state show
//! is written for the client, and noted as known to a device that loads members lazily: both need
//! timelines that are cut.

mod beside;
mod written;

use serde_json::value::RawValue;
use stoa_base::Pos;
use stoa_rooms::tokens::PaginationToken;

pub use self::beside::Beside;
use self::written::Written;
pub use crate::stream::summary::Summary;
use crate::{
    Reader, Result, Streams,
    known_members::Sending,
    span::{ByRoom, KnownState, Span},
    stream::{
        account_data::RoomAccountData,
        deltas::deltas,
        receipts::Receipts,
        state::{RoomStates, StateNews, members},
        summary::Summaries,
        timeline::{Timeline, Timelines},
        typing::TypingLists,
    },
    wants::Wants,
};

/// An event as the client gets it.
pub type Json = Box<RawValue>;

/// What is asked of rooms.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The rooms, and which stretch of each.
    pub spans: &'a [Span],
    /// What the client wants to be told of them.
    pub wants: &'a Wants<'a>,
    /// What was read for all rooms at once.
    pub beside: &'a Beside,
    /// The position in the log of the token that it gets with the answer.
    pub head: Pos,
}

/// The news of one room.
#[derive(Debug)]
pub struct RoomNews {
    /// The events of the timeline, oldest first.
    pub timeline: Vec<Json>,
    /// Whether there are older ones that the client lacks.
    pub limited: bool,
    /// The gap before the first event, from where older ones are found.
    pub prev_batch: PaginationToken,
    /// What the client has to be told of the room's state, oldest first.
    pub state: Vec<Json>,
    /// How many members there are and how the room is called, where that changed.
    pub summary: Option<Summary>,
    /// Who is typing, and what was read.
    pub ephemeral: Vec<Json>,
    /// The reader's account data for the room.
    pub account_data: Vec<Json>,
}

impl RoomNews {
    /// Whether there is nothing to tell.
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
    streams: &Streams,
    reader: &Reader,
    question: Question<'a>,
) -> Result<impl Iterator<Item = (&'a Span, RoomNews)>> {
    let Question { spans, wants, beside, .. } = question;
    let Streams { store, rooms, changes, read_state, heroes, known, .. } = streams;
    let mut timelines =
        Timelines { rooms, changes, wants: &wants.timeline }.read(reader, spans).await?;
    let deltas = deltas(rooms, changes, reader, spans, &timelines).await?;
    let mut summaries =
        Summaries { rooms, changes, heroes, deltas: &deltas }.read(reader, spans).await?;
    let mut states = RoomStates {
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
        Receipts { read_state, changes, filter: &wants.ephemeral }.read(reader, spans).await?;
    let mut typing =
        TypingLists { typing: &streams.typing, changes: &beside.typing, filter: &wants.ephemeral }
            .read(spans);

    let mut written = Written::new(rooms, reader, question, &timelines, &states).await?;
    // News that are given up before they are written were not sent.
    if wants.state.members.are_lazy() {
        note_members(streams, reader, question, &timelines, &states);
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

/// Notes which member events the device will have.
fn note_members(
    streams: &Streams,
    reader: &Reader,
    question: Question<'_>,
    timelines: &ByRoom<Timeline>,
    states: &ByRoom<StateNews>,
) {
    let Question { spans, head, .. } = question;
    let shown = timelines.values().flat_map(|timeline| &timeline.events);
    let told = states.values().flat_map(|state| &state.events);
    let events = members(shown.map(|(event, _)| event).chain(told));
    let anew = spans.iter().filter(|span| span.state == KnownState::Nothing);
    let anew = &anew.map(|span| span.room.nid).collect();
    streams.known.sent(&reader.device, Sending { token: head, anew, events });
}
