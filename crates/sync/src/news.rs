//! The kinds of news about rooms, one per file.
//!
//! Each has a `read`, which gives the news of many spans by room; a room without news may be
//! absent. The number of queries does not depend on the number of spans, except when something rare
//! has happened in one of them. The memory of what is read is charged to the reader's allowance.
//! [`room_news`](crate::room_news) explains how they depend on one another.

pub(crate) mod account_data;
pub(crate) mod deltas;
pub(crate) mod receipts;
pub(crate) mod state;
pub(crate) mod stripped;
pub(crate) mod summary;
pub(crate) mod timeline;
pub(crate) mod typing;

use serde::Serialize;
use serde_json::value::RawValue;

/// An event outside any room's history: ephemeral, or account data.
#[derive(Serialize)]
pub(crate) struct EphemeralEvent<'a, C> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    pub(crate) content: C,
}

impl<C: Serialize> EphemeralEvent<'_, C> {
    /// Serializes the event. This cannot fail if the keys of the content are strings.
    pub(crate) fn to_json(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(self).ok()
    }
}
