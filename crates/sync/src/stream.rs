//! The streams of news about rooms, one a file.

pub(crate) mod account_data;
pub(crate) mod receipts;
pub(crate) mod state;
pub(crate) mod stripped;
pub(crate) mod summary;
pub(crate) mod timeline;
pub(crate) mod typing;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    Reader, Result,
    span::{ByRoom, Span},
};

/// One kind of news about rooms.
pub(crate) trait RoomStream {
    /// The news of one room.
    type News;

    /// The news of these spans, by room. A room without news may be absent. The number of queries
    /// does not depend on the number of spans, but where something rare has happened in one.
    async fn read(&self, reader: &Reader, spans: &[Span]) -> Result<ByRoom<Self::News>>;
}

/// An event that is in no room's history: ephemeral, or account data.
#[derive(Serialize)]
pub(crate) struct EphemeralEvent<'a, C> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    pub(crate) content: C,
}

impl<C: Serialize> EphemeralEvent<'_, C> {
    /// Writes the event, which cannot fail for contents whose keys are texts.
    pub(crate) fn to_json(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(self).ok()
    }
}
