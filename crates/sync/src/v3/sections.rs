//! Which rooms an answer contains, and in which sections.

use std::collections::{HashMap, HashSet};

use ruma::events::room::member::MembershipState;
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_storage::log::{Stream, Topic};

use crate::{
    Reader, Result, Sources,
    span::{End, KnownState, Span},
    standing::{Departure, Standing, departures},
    v3::{Request, wants::passes_room},
};

/// The streams of a room that its members get news from.
const OF_MEMBERS: [Stream; 3] = [Stream::Timeline, Stream::State, Stream::Receipts];

/// The rooms of an answer.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// The rooms that the reader is in or has left, and what to read of them.
    pub(crate) spans: Vec<Span>,
    /// The member events by which the reader is invited.
    pub(crate) invited: HashMap<RoomNid, EventNid>,
    /// The member events by which the reader knocks.
    pub(crate) knocked: HashMap<RoomNid, EventNid>,
}

/// A span whose room has not been looked up yet.
struct Draft {
    after: Option<Pos>,
    up_to: Pos,
    state: KnownState,
    members_since: Option<Pos>,
    has_gap: bool,
    end: Option<End>,
}

/// Chooses the rooms. `others` are rooms with news that the index of changes does not cover.
pub(crate) async fn sections(
    sources: &Sources,
    reader: &Reader,
    request: Request<'_>,
    standings: &[Standing],
    others: &HashSet<RoomNid>,
    head: Pos,
) -> Result<Sections> {
    let since = request.since.map(|token| token.log.min(head));
    let is_whole = since.is_none() || request.full_state;
    let may_have_news = |room: RoomNid, since: Pos| {
        others.contains(&room)
            || sources.changes.may_have_changed(&Topic::from(room), &OF_MEMBERS, since)
    };
    let past = past_rooms(sources, reader, request, standings, is_whole).await?;

    let mut sections = Sections::default();
    let mut drafts: HashMap<RoomNid, Draft> = HashMap::new();
    for standing in standings {
        let is_told = is_whole || standing.moved.is_some();
        match standing.membership {
            MembershipState::Join => {
                let draft = Draft::joined(standing, since, head, is_whole);
                let has_news =
                    is_told || since.is_some_and(|pos| may_have_news(standing.room, pos));
                if has_news {
                    drafts.insert(standing.room, draft);
                }
            }
            MembershipState::Invite if is_told => {
                sections.invited.insert(standing.room, standing.event);
            }
            MembershipState::Knock if is_told => {
                sections.knocked.insert(standing.room, standing.event);
            }
            MembershipState::Leave | MembershipState::Ban => {
                let past = past.get(&standing.room).copied();
                if standing.moved.is_some() || past.is_some() {
                    let draft = Draft::left(standing, since, past.flatten(), is_whole);
                    drafts.insert(standing.room, draft);
                }
            }
            _ => {}
        }
    }

    let unloaded = drafts.keys().chain(sections.invited.keys()).chain(sections.knocked.keys());
    let rooms = sources.rooms.known.by_nids(unloaded.copied()).await?;
    let is_wanted = |room: &RoomNid| {
        rooms.get(room).is_some_and(|room| passes_room(&request.filter.room, &room.id))
    };
    sections.invited.retain(|room, _| is_wanted(room));
    sections.knocked.retain(|room, _| is_wanted(room));
    drafts.retain(|room, _| is_wanted(room));
    let spans = drafts.into_iter().filter_map(|(room, draft)| {
        let Draft { after, up_to, state, members_since, has_gap, end } = draft;
        let room = rooms.get(&room)?.clone();
        Some(Span { room, after, up_to, state, members_since, has_gap, end })
    });
    sections.spans.extend(spans);
    Ok(sections)
}

/// The rooms that the reader left before the token, if the client asks for them; each with how the
/// reader left, if they were ever in it.
async fn past_rooms(
    sources: &Sources,
    reader: &Reader,
    request: Request<'_>,
    standings: &[Standing],
    is_whole: bool,
) -> Result<HashMap<RoomNid, Option<Departure>>> {
    if !is_whole || !request.filter.room.include_leave {
        return Ok(HashMap::new());
    }
    let is_past = |standing: &&Standing| {
        let has_left = matches!(standing.membership, MembershipState::Leave | MembershipState::Ban);
        has_left && standing.moved.is_none() && !standing.forgotten
    };
    let past: Vec<RoomNid> =
        standings.iter().filter(is_past).map(|standing| standing.room).collect();
    let departures = departures(&sources.rooms, reader, past.clone()).await?;
    Ok(past.into_iter().map(|room| (room, departures.get(&room).copied())).collect())
}

impl Draft {
    fn joined(standing: &Standing, since: Option<Pos>, head: Pos, is_whole: bool) -> Self {
        let is_new = standing.moved.as_ref().is_some_and(|moved| !moved.stayed_joined);
        let known = since.filter(|_| !is_new);
        let was_in = standing.was_in();
        Self {
            after: known,
            up_to: head,
            state: match known {
                Some(since) if !is_whole => KnownState::At(since),
                _ => KnownState::Nothing,
            },
            members_since: since.filter(|_| was_in && (is_new || is_whole)),
            // The client may lack history from before the token, or is shown it again.
            has_gap: is_new,
            end: None,
        }
    }

    /// The span of a room that the reader is no longer in. `past` says how they left, if that was
    /// before the token.
    fn left(
        standing: &Standing,
        since: Option<Pos>,
        past: Option<Departure>,
        is_whole: bool,
    ) -> Self {
        let moved = standing.moved.as_ref();
        let departure = moved.map_or(past, |moved| moved.departure);
        let draft = Self {
            after: since,
            up_to: standing.at,
            state: KnownState::Withheld,
            members_since: since.filter(|_| standing.was_in()),
            has_gap: false,
            end: Some(End { event: standing.event, departure }),
        };
        let Some(moved) = moved else {
            let was_in = departure.is_some();
            return if was_in { Self { state: KnownState::Nothing, ..draft } } else { draft };
        };
        if standing.forgotten {
            // The client is told only that the reader is out, and nothing else about the room.
            return Self { after: Some(Pos(standing.at.0 - 1)), has_gap: true, ..draft };
        }
        match (&moved.from, since) {
            (Some(MembershipState::Join), Some(since)) if !is_whole => {
                Self { state: KnownState::At(since), ..draft }
            }
            (Some(MembershipState::Join), _) => Self { state: KnownState::Nothing, ..draft },
            _ if moved.was_joined => {
                Self { after: None, state: KnownState::Nothing, has_gap: true, ..draft }
            }
            // While they were out of the room or only invited, they were not sent the events that
            // they may see.
            _ => Self { has_gap: since.is_some(), ..draft },
        }
    }
}
