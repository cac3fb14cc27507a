//! The changes of rooms' states, which both the state and the summaries are derived from.

use std::collections::BTreeMap;

use ruma::events::TimelineEventType;
use stoa_base::Pos;
use stoa_rooms::{Event, Room, Rooms};
use stoa_storage::{
    log::{Stream, Topic},
    repo::state::StateChange,
};

use crate::{
    ChangeIndex, Reader, Result,
    news::timeline::Timeline,
    span::{ByRoom, End, KnownState, Span},
};

/// The changes of each room's state since the state that the client knows.
pub(crate) type Deltas = ByRoom<Vec<StateChange>>;

/// Reads the changes of state of the rooms whose state the client knows.
pub(crate) async fn deltas(
    rooms: &Rooms,
    changes: &ChangeIndex,
    reader: &Reader,
    spans: &[Span],
    timelines: &ByRoom<Timeline>,
) -> Result<Deltas> {
    // Rooms with the same positions are read together.
    let mut together: BTreeMap<(Pos, Pos), Vec<&Room>> = BTreeMap::new();
    let mut changed = Vec::new();
    for span in spans {
        let KnownState::At(since) = span.state else { continue };
        let topic = Topic::from(span.room.nid);
        if changes.may_have_changed(&topic, &[Stream::State], since)
            && rooms.known.committed(&span.room).await?.state_pos > since
        {
            together.entry((since, span.state_up_to())).or_default().push(&span.room);
            changed.push(span);
        }
    }
    let mut deltas = Deltas::new();
    for ((since, up_to), together) in together {
        let changes =
            rooms.state_changes.unchecked_of_rooms(&together, since, up_to, &reader.allowance);
        deltas.extend(changes.await?);
    }
    for span in changed {
        let delta = deltas.entry(span.room.nid).or_default();
        delta.extend(after_departure(reader, span, timelines.get(&span.room.nid)));
    }
    deltas.retain(|_, delta| !delta.is_empty());
    Ok(deltas)
}

/// The later changes that somebody who left before the end of the span may know of: those that the
/// timeline shows them, and the last change of their own membership.
pub(crate) fn after_departure(
    reader: &Reader,
    span: &Span,
    timeline: Option<&Timeline>,
) -> Vec<StateChange> {
    let Some(End { event: end, departure: Some(departure) }) = span.end else { return Vec::new() };
    if end == departure.event {
        return Vec::new();
    }
    let shown = timeline.into_iter().flat_map(|timeline| &timeline.events);
    let shown = shown.filter(|(event, _)| position(event) > departure.pos && event.nid != end);
    let mut changes: Vec<StateChange> = shown.filter_map(|(event, _)| change_by(event)).collect();
    changes.push(StateChange {
        pos: span.up_to,
        kind: TimelineEventType::RoomMember.to_string(),
        state_key: reader.user_id.to_string(),
        old: Some(departure.event),
        new: Some(end),
    });
    changes
}

fn change_by(event: &Event) -> Option<StateChange> {
    Some(StateChange {
        pos: position(event),
        kind: event.pdu.event_type.to_string(),
        state_key: event.pdu.state_key.clone()?,
        old: event.replaces,
        new: Some(event.nid),
    })
}

/// An event's position in the log.
pub(crate) fn position(event: &Event) -> Pos {
    Pos(event.order.map_or(i64::MIN, |order| order.pos))
}
