//! Arranges news into an answer.

use std::collections::HashSet;

use ruma::events::room::member::MembershipState;
use stoa_base::{Pos, RoomNid};
use stoa_rooms::{Memberships, tokens::SyncToken};

use crate::{
    Reader, Result, Sources,
    news::stripped::stripped_states,
    room_news::{Beside, Question, RoomNews, room_news},
    span::{KnownState, Span},
    standing::{Standing, standings},
    v3::{
        Request,
        response::{self, Events, Response},
        sections::{Sections, sections},
        wants::wants,
    },
};

/// The answer as of `head`.
#[tracing::instrument(name = "answer_sync", level = "debug", skip_all)]
pub(crate) async fn answer(
    sources: &Sources,
    reader: &Reader,
    request: Request<'_>,
    memberships: &Memberships,
    head: Pos,
) -> Result<Response> {
    let since = request.since.map(|token| token.log.min(head));
    sources.known.presented(&reader.device, since);
    let standings = standings(&sources.rooms, reader, memberships, since, head).await?;
    let is_joined = |standing: &&Standing| standing.membership == MembershipState::Join;
    let joined = standings.iter().filter(is_joined).map(|standing| standing.room);
    let known = request.since.map(|token| token.ephemeral);
    let beside = Beside::read(sources, reader, since, joined, known).await?;
    let others: HashSet<RoomNid> = beside.rooms().collect();
    let Sections { spans, invited, knocked } =
        sections(sources, reader, request, &standings, &others, head).await?;

    let mut answer = Response {
        next_batch: SyncToken {
            log: head,
            to_device: request.since.map(|token| token.to_device).unwrap_or_default(),
            ephemeral: beside.typing.position,
        }
        .to_string(),
        ..Response::default()
    };
    let (data, filter) = (&beside.account_data, (&request.filter.account_data).into());
    answer.account_data.events = data.global(&filter);
    if since.is_none() {
        answer.account_data.events.extend(data.default_push_rules(&filter, reader));
    }
    for (room, events) in stripped_states(&sources.rooms, reader, &invited).await? {
        let invite_state = Events { events };
        let room_id = sources.rooms.known.by_nid(room).await?.id.clone();
        answer.rooms.invite.insert(room_id, response::InvitedRoom { invite_state });
    }
    for (room, events) in stripped_states(&sources.rooms, reader, &knocked).await? {
        let knock_state = Events { events };
        let room_id = sources.rooms.known.by_nid(room).await?.id.clone();
        answer.rooms.knock.insert(room_id, response::KnockedRoom { knock_state });
    }
    if !spans.is_empty() {
        let wants = &wants(request.filter, request.use_state_after);
        let question = Question { spans: &spans, wants, beside: &beside, since, head };
        // Boxed because it is large and most answers do not need it.
        for (span, news) in Box::pin(room_news(sources, reader, question)).await? {
            if span.end.is_some() || span.state == KnownState::Nothing || !news.is_empty() {
                answer.rooms.add(span, news, request.use_state_after);
            }
        }
    }
    Ok(answer)
}

impl response::Rooms {
    /// Adds a room that the reader is in or has left to its section.
    fn add(&mut self, span: &Span, news: RoomNews, use_state_after: bool) {
        let room_id = span.room.id.clone();
        let timeline = response::Timeline {
            events: news.timeline,
            limited: news.limited,
            prev_batch: news.prev_batch.to_string(),
        };
        let state = Events { events: news.state };
        let state = if use_state_after {
            response::State::After(state)
        } else {
            response::State::Before(state)
        };
        let account_data = Events { events: news.account_data };
        if span.end.is_some() {
            let left = response::LeftRoom { state, timeline, account_data };
            self.leave.insert(room_id, left);
            return;
        }
        let summary = news.summary.map(|summary| response::Summary {
            heroes: summary.heroes,
            joined: summary.joined,
            invited: summary.invited,
        });
        let ephemeral = Events { events: news.ephemeral };
        let joined = response::JoinedRoom { summary, state, timeline, ephemeral, account_data };
        self.join.insert(room_id, joined);
    }
}
