//! Stripped state: what users who are invited or have knocked are shown of a room.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>

use std::collections::HashMap;

use serde_json::value::RawValue;
use stoa_base::{EventNid, RoomNid, StateNid};
use stoa_rooms::{Caching, Rooms, state::StateKey};

use crate::{Reader, Result, span::ByRoom};

/// The state events that are shown besides the member event.
const SHOWN: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.name",
    "m.room.canonical_alias",
    "m.room.avatar",
    "m.room.topic",
    "m.room.encryption",
];

/// The stripped state of rooms as of these member events, which come last.
pub(crate) async fn stripped_states(
    rooms: &Rooms,
    reader: &Reader,
    members: &HashMap<RoomNid, EventNid>,
) -> Result<ByRoom<Vec<Box<RawValue>>>> {
    if members.is_empty() {
        return Ok(ByRoom::new());
    }
    let keys = SHOWN.map(|kind| StateKey::new(kind, ""));
    let read = async |nids: Vec<EventNid>| {
        rooms.unchecked_events.within(&nids, Caching::Fill, &reader.allowance).await
    };
    let member_events = read(members.values().copied().collect()).await?;
    let states: Vec<StateNid> =
        member_events.values().filter_map(|event| event.state_after).collect();
    let wanted: Vec<(StateNid, StateKey)> =
        states.iter().flat_map(|state| keys.map(|key| (*state, key))).collect();
    let nids = rooms.unchecked_states.get_many(&wanted).await?;
    let events = read(nids.values().copied().collect()).await?;

    let stripped = members.iter().map(|(room, member)| {
        let Some(member) = member_events.get(member) else { return Ok((*room, Vec::new())) };
        let of_state = member.state_after.into_iter().flat_map(|state| {
            keys.iter().filter_map(|key| nids.get(&(state, *key))).collect::<Vec<_>>()
        });
        let shown = of_state.filter_map(|nid| events.get(nid)).chain([member]);
        let texts: Vec<Box<RawValue>> = shown.filter_map(|event| event.to_stripped()).collect();
        reader.allowance.take(texts.iter().map(|text| text.get().len() as u64).sum())?;
        Ok((*room, texts))
    });
    stripped.collect()
}
