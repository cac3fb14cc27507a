//! Arranging streams into an answer.

use std::{collections::HashSet, sync::Arc};

use ruma::{OwnedRoomId, api::client::filter::EventFormat, events::room::member::MembershipState};
use serde_json::value::RawValue;
use stoa_base::{Allowance, Pos, RoomNid};
use stoa_rooms::{
    Memberships,
    events::Event,
    tokens::{PaginationToken, SyncToken},
};

use crate::{
    Reader, Result, Streams,
    filter::{EventFields, lazy_members},
    known_members::Sending,
    span::{ByRoom, KnownState, Span},
    standing::{Standing, standings},
    stream::{
        RoomStream as _,
        account_data::{AccountData, RoomAccountData},
        receipts::Receipts,
        state::{StateNews, States, deltas, members},
        stripped::stripped_states,
        summary::{Summaries, Summary},
        timeline::{Timeline, Timelines},
        typing::{TypingChanges, TypingLists},
    },
    v3::{
        Request,
        response::{self, Events, Json, Response},
        sections::{Sections, sections},
    },
};

/// What there is to tell at `head`.
pub(crate) async fn answer(
    streams: &Streams,
    reader: &Reader,
    request: Request<'_>,
    memberships: &Memberships,
    head: Pos,
) -> Result<Response> {
    let since = request.since.map(|token| token.log.min(head));
    let filter = request.filter;
    let data = AccountData::read(&streams.store, &streams.changes, reader, since).await?;
    let standings = standings(&streams.rooms, reader, memberships, since, head).await?;
    let is_joined = |standing: &&Standing| standing.membership == MembershipState::Join;
    let joined = standings.iter().filter(is_joined).map(|standing| standing.room);
    let known = request.since.map(|token| token.ephemeral);
    let typing = TypingChanges::look(&streams.typing, joined, known);
    let others: HashSet<RoomNid> = data.rooms().chain(typing.rooms()).collect();
    let sections = sections(streams, reader, request, &standings, &others, head).await?;

    let mut answer = Response {
        next_batch: SyncToken {
            log: head,
            to_device: request.since.map(|token| token.to_device).unwrap_or_default(),
            ephemeral: typing.position,
        }
        .to_string(),
        ..Response::default()
    };
    answer.account_data.events = data.global(&filter.account_data);
    if since.is_none() {
        answer.account_data.events.extend(data.default_push_rules(&filter.account_data, reader));
    }
    let Sections { spans, invited, knocked } = sections;
    for (room, events) in stripped_states(&streams.rooms, reader, &invited).await? {
        let invite_state = Events { events };
        let room_id = streams.rooms.room_by_nid(room).await?.id.clone();
        answer.rooms.invite.insert(room_id, response::InvitedRoom { invite_state });
    }
    for (room, events) in stripped_states(&streams.rooms, reader, &knocked).await? {
        let knock_state = Events { events };
        let room_id = streams.rooms.room_by_nid(room).await?.id.clone();
        answer.rooms.knock.insert(room_id, response::KnockedRoom { knock_state });
    }
    if !spans.is_empty() {
        let beside = Beside { data, typing };
        // Boxed, since it is large and most answers go without it.
        let rooms = add_rooms(streams, reader, request, &spans, &beside, head, &mut answer);
        Box::pin(rooms).await?;
    }
    Ok(answer)
}

/// What was read for all rooms together.
struct Beside {
    data: AccountData,
    typing: TypingChanges,
}

/// Adds the news of rooms that the reader is in or has left.
async fn add_rooms(
    streams: &Streams,
    reader: &Reader,
    request: Request<'_>,
    spans: &[Span],
    beside: &Beside,
    head: Pos,
    answer: &mut Response,
) -> Result<()> {
    let rooms = &*streams.rooms;
    let filter = &request.filter.room;
    let mut timelines = Timelines { rooms, changes: &streams.changes, filter: &filter.timeline }
        .read(reader, spans)
        .await?;
    let deltas = deltas(rooms, &streams.changes, reader, spans, &timelines).await?;
    let mut summaries =
        Summaries { rooms, changes: &streams.changes, heroes: &streams.heroes, deltas: &deltas }
            .read(reader, spans)
            .await?;
    let mut states = States {
        rooms,
        filter: &filter.state,
        at_end: request.use_state_after,
        timelines: &timelines,
        summaries: &summaries,
        deltas: &deltas,
        known: &streams.known,
    }
    .read(reader, spans)
    .await?;
    for (room, state) in &states {
        if let (Some(pos), Some(timeline)) = (state.cut, timelines.get_mut(room)) {
            timeline.cut(pos);
        }
    }
    let mut room_data = RoomAccountData {
        store: &streams.store,
        filter: &filter.account_data,
        data: &beside.data,
        is_all: request.since.is_none(),
    }
    .read(reader, spans)
    .await?;
    let mut receipts = Receipts {
        read_state: &streams.read_state,
        changes: &streams.changes,
        filter: &filter.ephemeral,
    }
    .read(reader, spans)
    .await?;
    let typing = &streams.typing;
    let mut typing = TypingLists { typing, changes: &beside.typing, filter: &filter.ephemeral }
        .read(reader, spans)
        .await?;

    let mut written = Written::new(streams, reader, request, spans, &timelines, &states).await?;
    // An answer that is given up before it is written was not sent.
    if lazy_members(&filter.state).is_some() {
        let shown = timelines.values().flat_map(|timeline| &timeline.events);
        let told = states.values().flat_map(|state| &state.events);
        let members = members(shown.map(|(event, _)| event).chain(told));
        let since = request.since.map(|token| token.log);
        let anew = spans.iter().filter(|span| span.state == KnownState::Nothing);
        let anew = &anew.map(|span| span.room.nid).collect();
        let sending = Sending { since, token: head, anew, events: members };
        streams.known.sent(&reader.device, sending);
    }

    for span in spans {
        let nid = span.room.nid;
        let room = RoomNews {
            timeline: timelines.remove(&nid),
            state: states.remove(&nid).unwrap_or_default(),
            summary: summaries.remove(&nid),
            ephemeral: typing
                .remove(&nid)
                .into_iter()
                .chain(receipts.remove(&nid).unwrap_or_default())
                .collect(),
            account_data: room_data.remove(&nid).unwrap_or_default(),
        };
        room.add(span, request, &mut written, answer);
    }
    Ok(())
}

/// The news of one room.
struct RoomNews {
    timeline: Option<Timeline>,
    state: StateNews,
    summary: Option<Summary>,
    ephemeral: Vec<Json>,
    account_data: Vec<Json>,
}

impl RoomNews {
    /// Adds the room to its section, unless there is nothing to tell.
    fn add(self, span: &Span, request: Request<'_>, written: &mut Written, answer: &mut Response) {
        let Some(timeline) = self.timeline else { return };
        let timeline = response::Timeline {
            events: written.take_timeline(timeline.events.len()),
            limited: timeline.limited,
            prev_batch: PaginationToken(timeline.start).to_string(),
        };
        let state = Events { events: written.take_state(self.state.events.len()) };
        let has_news = !timeline.events.is_empty()
            || timeline.limited
            || !state.events.is_empty()
            || !self.ephemeral.is_empty()
            || !self.account_data.is_empty()
            || self.summary.is_some();
        let is_told = span.end.is_some() || span.state == KnownState::Nothing || has_news;
        if !is_told {
            return;
        }
        let room_id: OwnedRoomId = span.room.id.clone();
        let state = if request.use_state_after {
            response::State::After(state)
        } else {
            response::State::Before(state)
        };
        let account_data = Events { events: self.account_data };
        if span.end.is_some() {
            let left = response::LeftRoom { state, timeline, account_data };
            answer.rooms.leave.insert(room_id, left);
            return;
        }
        let summary = self.summary.map(|summary| response::Summary {
            heroes: summary.heroes,
            joined: summary.joined,
            invited: summary.invited,
        });
        let joined = response::JoinedRoom {
            summary,
            state,
            timeline,
            ephemeral: Events { events: self.ephemeral },
            account_data,
        };
        answer.rooms.join.insert(room_id, joined);
    }
}

/// The events of all rooms as the client gets them, in the order in which they are taken: those of
/// each span's timeline, and those of each span's state.
struct Written {
    timelines: std::vec::IntoIter<Json>,
    states: std::vec::IntoIter<Json>,
}

impl Written {
    async fn new(
        streams: &Streams,
        reader: &Reader,
        request: Request<'_>,
        spans: &[Span],
        timelines: &ByRoom<Timeline>,
        states: &ByRoom<StateNews>,
    ) -> Result<Self> {
        let mut shown: Vec<(&Arc<Event>, Option<&str>)> = Vec::new();
        let mut told: Vec<&Arc<Event>> = Vec::new();
        for span in spans {
            let timeline = timelines.get(&span.room.nid).map(|timeline| &timeline.events);
            let events = timeline.into_iter().flatten();
            shown.extend(events.map(|(event, membership)| (event, Some(membership.as_str()))));
            told.extend(states.get(&span.room.nid).into_iter().flat_map(|state| &state.events));
        }
        let (mut timelines, mut states) = if request.filter.event_format == EventFormat::Federation
        {
            let told = streams.rooms.without_erased(&reader.user_id, told).await?;
            let shown = shown.into_iter().map(|(event, _)| event);
            (raw(shown, &reader.allowance)?, raw(&told, &reader.allowance)?)
        } else {
            let (device, allowance) = (Some(reader.device.as_str()), &reader.allowance);
            let user_id = &*reader.user_id;
            let reader = stoa_rooms::Reader { user_id, device, with_room_id: false };
            let rooms = &streams.rooms;
            let timelines = rooms.to_client(reader, shown, allowance).await?;
            (timelines, rooms.state_to_client(reader, told, allowance).await?)
        };
        if let Some(fields) = EventFields::of(request.filter.event_fields.as_deref()) {
            for event in timelines.iter_mut().chain(&mut states) {
                *event = fields.pick(event);
            }
        }
        Ok(Self { timelines: timelines.into_iter(), states: states.into_iter() })
    }

    fn take_timeline(&mut self, count: usize) -> Vec<Json> {
        self.timelines.by_ref().take(count).collect()
    }

    fn take_state(&mut self, count: usize) -> Vec<Json> {
        self.states.by_ref().take(count).collect()
    }
}

/// Events as servers exchange them, as long as the texts do not take more than is allowed.
fn raw<'e>(
    events: impl IntoIterator<Item = &'e Arc<Event>>,
    allowance: &Allowance,
) -> Result<Vec<Json>> {
    let raw = events.into_iter().map(|event| {
        let text = event.pdu.json();
        allowance.take(text.len() as u64)?;
        Ok(RawValue::from_string(text.to_owned()).map_err(stoa_storage::Error::corrupt)?)
    });
    raw.collect()
}
