//! The streams of news about rooms, one a file.
//!
//! Each has a `read`, which gives the news of many spans by room; a room without news may be absent.
//! The number of queries does not depend on the number of spans, but where something rare has
//! happened in one. What is read is taken from the reader's allowance. How streams depend on one
//! another is said in [`room_news`](crate::room_news).

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
