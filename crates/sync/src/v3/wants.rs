//! What a `/sync` filter wants to know about rooms.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use ruma::{
    RoomId,
    api::client::filter::{EventFormat as Format, FilterDefinition, LazyLoadOptions, RoomFilter},
};

use crate::{
    filter::{EventFields, Listed},
    wants::{EventFormat, Members, StateWants, TimelineWants, Wants},
};

/// How many events of a room's timeline an answer has if the filter does not say.
const DEFAULT_LIMIT: usize = 10;

/// What the filter wants of the news of rooms.
pub(crate) fn wants(filter: &FilterDefinition, use_state_after: bool) -> Wants<'_> {
    let room = &filter.room;
    Wants {
        timeline: TimelineWants { filter: (&room.timeline).into(), limit: timeline_limit(filter) },
        state: StateWants {
            filter: (&room.state).into(),
            members: match room.state.lazy_load_options {
                LazyLoadOptions::Disabled => Members::All,
                LazyLoadOptions::Enabled { include_redundant_members: include_redundant } => {
                    Members::Lazily { include_redundant }
                }
            },
            at_end: use_state_after,
        },
        ephemeral: (&room.ephemeral).into(),
        account_data: (&room.account_data).into(),
        format: match filter.event_format {
            Format::Federation => EventFormat::Federation,
            _ => EventFormat::Client,
        },
        fields: EventFields::of(filter.event_fields.as_deref()),
    }
}

/// How many events of one room's timeline an answer may have under this filter.
pub fn timeline_limit(filter: &FilterDefinition) -> usize {
    let limit = filter.room.timeline.limit.map_or(DEFAULT_LIMIT as u64, u64::from);
    usize::try_from(limit).map_or(TimelineWants::MAX_LIMIT, |n| n.min(TimelineWants::MAX_LIMIT))
}

/// Whether the filter lets anything about this room through.
pub fn passes_room(filter: &RoomFilter, room_id: &RoomId) -> bool {
    let rooms = Listed { only: filter.rooms.as_deref(), not: &filter.not_rooms };
    rooms.allows(|listed| listed == room_id)
}
