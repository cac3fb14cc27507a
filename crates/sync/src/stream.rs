//! The streams of news about rooms, one a file.

pub(crate) mod account_data;
pub(crate) mod state;
pub(crate) mod stripped;
pub(crate) mod summary;
pub(crate) mod timeline;

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
