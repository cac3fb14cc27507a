//! The local room directory: published rooms with members, largest first, described by their
//! current state.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use std::collections::HashMap;

use ruma::{
    OwnedMxcUri, OwnedRoomAliasId, OwnedRoomId, UInt,
    directory::{Filter, PublicRoomsChunk, PublicRoomsChunkInit, RoomTypeFilter},
    room::{JoinRuleKind, RoomType},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stoa_base::RoomNid;
use stoa_rooms::state::StateKey;
use stoa_storage::{
    Error,
    repo::published::{self, Place, PublishedRow},
};

use crate::{
    Directory,
    error::{DirectoryError, Result},
};

/// The maximum number of rooms on one page.
const MAX_PAGE: usize = 500;

/// Roughly how many bytes of names and topics one page may have. The page ends with the room that
/// reaches this, and has a token to continue with.
const MAX_BYTES: usize = 1 << 20;

/// How many rooms are read at a time, with or without a filter.
const SCAN_STEP: usize = 200;

/// How many rooms a filter looks at for one page. A page that ends here may have fewer rooms than
/// requested, and has a token to continue with.
const MAX_SCANNED: usize = 2_000;

/// A request for a page of the list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// The maximum number of rooms; by default that of a page.
    pub limit: Option<usize>,
    /// A token from an earlier page.
    pub since: Option<String>,
    /// Which rooms to list.
    pub filter: Filter,
}

/// A page of the list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// The rooms, largest first.
    pub rooms: Vec<PublicRoomsChunk>,
    /// A token for the rooms that follow, if there are any.
    pub next: Option<String>,
    /// A token for the rooms that precede, if there are any.
    pub prev: Option<String>,
    /// The number of rooms on the list; `None` with a filter.
    pub total: Option<u64>,
}

/// Where a page starts, and in which direction it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    /// Down the list, with the rooms below a place.
    Down(Place),
    /// Up the list, with the rooms at or above a place.
    Up(Place),
}

impl Cursor {
    const START: Self = Self::Down(Place::TOP);

    /// The same place, seen in the other direction.
    fn turned(self) -> Self {
        match self {
            Self::Down(place) => Self::Up(place),
            Self::Up(place) => Self::Down(place),
        }
    }

    /// Continues after the room at `place`.
    fn past(self, place: Place) -> Self {
        match self {
            Self::Down(_) => Self::Down(place),
            Self::Up(_) => Self::Up(place.above()),
        }
    }

    fn to_token(self) -> String {
        let (direction, place) = match self {
            Self::Down(place) => ('d', place),
            Self::Up(place) => ('u', place),
        };
        format!("{direction}{}.{}", place.joined, place.room.0)
    }

    fn from_token(token: &str) -> Option<Self> {
        let direction = match token.get(..1)? {
            "d" => Self::Down,
            "u" => Self::Up,
            _ => return None,
        };
        let (joined, room) = token.get(1..)?.split_once('.')?;
        Some(direction(Place { joined: joined.parse().ok()?, room: RoomNid(room.parse().ok()?) }))
    }
}

impl Directory {
    /// A page of the local room list.
    pub async fn list(&self, options: &ListOptions) -> Result<List> {
        let start = match &options.since {
            Some(token) => Cursor::from_token(token).ok_or(DirectoryError::InvalidToken)?,
            None => Cursor::START,
        };
        let wanted = Wanted::new(&options.filter);
        let limit = options.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let (mut rooms, rest) = self.scan(start, limit, &wanted).await?;

        let back = (start != Cursor::START).then(|| start.turned());
        let (next, prev) = match start {
            Cursor::Down(_) => (rest, back),
            Cursor::Up(_) => {
                rooms.reverse();
                (back, rest)
            }
        };
        let total = if wanted.is_everything() {
            let count = published::count(&mut self.store.read().await?).await?;
            u64::try_from(count).ok()
        } else {
            None
        };
        Ok(List {
            rooms,
            next: next.map(Cursor::to_token),
            prev: prev.map(Cursor::to_token),
            total,
        })
    }

    /// The next rooms that match, and where to continue if there may be more.
    async fn scan(
        &self,
        start: Cursor,
        limit: usize,
        wanted: &Wanted<'_>,
    ) -> Result<(Vec<PublicRoomsChunk>, Option<Cursor>)> {
        let step = if wanted.is_everything() { SCAN_STEP.min(limit + 1) } else { SCAN_STEP };
        let (mut rooms, mut bytes) = (Vec::new(), 0);
        let mut cursor = start;
        let mut scanned = 0;
        loop {
            let rows = self.rows(cursor, step).await?;
            let is_end = rows.len() < step;
            scanned += rows.len();
            for (place, room) in self.describe(rows).await? {
                if rooms.len() == limit || bytes >= MAX_BYTES {
                    return Ok((rooms, Some(cursor)));
                }
                cursor = cursor.past(place);
                if wanted.matches(&room) {
                    bytes += weight(&room);
                    rooms.push(room);
                }
            }
            if is_end {
                return Ok((rooms, None));
            }
            if scanned >= MAX_SCANNED && !wanted.is_everything() {
                return Ok((rooms, Some(cursor)));
            }
        }
    }

    async fn rows(&self, cursor: Cursor, limit: usize) -> Result<Vec<PublishedRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut conn = self.store.read().await?;
        Ok(match cursor {
            Cursor::Down(place) => published::below(&mut conn, place, limit).await?,
            Cursor::Up(place) => published::from_and_above(&mut conn, place, limit).await?,
        })
    }

    /// The entries for these rooms, in order, from their current state. The number of queries does
    /// not depend on the number of rooms.
    async fn describe(&self, rows: Vec<PublishedRow>) -> Result<Vec<(Place, PublicRoomsChunk)>> {
        let keys = DESCRIBED_BY.map(|kind| StateKey::new(kind, ""));
        let wanted: Vec<_> = rows.iter().flat_map(|row| keys.map(|key| (row.state, key))).collect();
        let found = self.rooms.unchecked_states.get_many(&wanted).await?;
        let events = self.rooms.unchecked_events.get_many(found.values().copied()).await?;
        rows.into_iter()
            .map(|row| {
                let content = |kind: &str| {
                    let event = found.get(&(row.state, StateKey::new(kind, "")))?;
                    Some(events.get(event)?.pdu.content.get())
                };
                Ok((row.place, describe(&row, content)?))
            })
            .collect()
    }
}

/// The state events from which an entry of the list is made.
const DESCRIBED_BY: [&str; 8] = [
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.create",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
];

/// Makes an entry of the list from the contents of the room's state events.
fn describe<'a>(
    row: &PublishedRow,
    content: impl Fn(&str) -> Option<&'a str>,
) -> Result<PublicRoomsChunk> {
    let text = |kind, key| field::<String>(content(kind)?, key).filter(|text| !text.is_empty());
    let says = |kind, key, value: &str| text(kind, key).is_some_and(|text| text == value);
    let mut room = PublicRoomsChunk::from(PublicRoomsChunkInit {
        num_joined_members: UInt::new_saturating(u64::try_from(row.place.joined).unwrap_or(0)),
        room_id: OwnedRoomId::try_from(row.room_id.as_str()).map_err(Error::corrupt)?,
        world_readable: says("m.room.history_visibility", "history_visibility", "world_readable"),
        guest_can_join: says("m.room.guest_access", "guest_access", "can_join"),
    });
    room.name = text("m.room.name", "name");
    room.topic = text("m.room.topic", "topic");
    room.canonical_alias = content("m.room.canonical_alias")
        .and_then(|content| field::<OwnedRoomAliasId>(content, "alias"));
    room.avatar_url = text("m.room.avatar", "url").map(OwnedMxcUri::from);
    room.room_type = text("m.room.create", "type").map(RoomType::from);
    // A room without join rules lets in only invited users.
    room.join_rule =
        text("m.room.join_rules", "join_rule").map_or(JoinRuleKind::Invite, JoinRuleKind::from);
    Ok(room)
}

/// The size in bytes of an entry's text that the room's members choose.
fn weight(room: &PublicRoomsChunk) -> usize {
    let alias = room.canonical_alias.as_ref().map(|alias| alias.as_str());
    let avatar = room.avatar_url.as_ref().map(|avatar| avatar.as_str());
    let kind = room.room_type.as_ref().map(RoomType::as_str);
    let texts = [room.name.as_deref(), room.topic.as_deref(), alias, avatar, kind];
    texts.into_iter().flatten().map(str::len).sum()
}

/// One field of an event's content, if it exists and has the right type. Users can write anything.
fn field<T: DeserializeOwned>(content: &str, key: &str) -> Option<T> {
    let mut content: HashMap<String, &RawValue> = serde_json::from_str(content).ok()?;
    serde_json::from_str(content.remove(key)?.get()).ok()
}

/// Which rooms to list.
struct Wanted<'a> {
    /// Text that the name, topic or canonical alias must contain, in lower case.
    term: Option<String>,
    types: &'a [RoomTypeFilter],
}

impl<'a> Wanted<'a> {
    fn new(filter: &'a Filter) -> Self {
        let term = filter.generic_search_term.as_deref().map(str::trim);
        Self {
            term: term.filter(|term| !term.is_empty()).map(str::to_lowercase),
            types: &filter.room_types,
        }
    }

    fn is_everything(&self) -> bool {
        self.term.is_none() && self.types.is_empty()
    }

    fn matches(&self, room: &PublicRoomsChunk) -> bool {
        let kind = room.room_type.as_ref().map(RoomType::as_str);
        let has_type =
            self.types.is_empty() || self.types.iter().any(|wanted| wanted.as_str() == kind);
        let alias = room.canonical_alias.as_ref().map(|alias| alias.as_str());
        let has_term = self.term.as_ref().is_none_or(|term| {
            [room.name.as_deref(), room.topic.as_deref(), alias]
                .into_iter()
                .flatten()
                .any(|text| text.to_lowercase().contains(term))
        });
        has_type && has_term
    }
}
