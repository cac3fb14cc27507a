//! What makes many nodes one server: the tailer that follows the log and keeps this node's caches
//! current, the shared look at the head by which a request sees all that was acknowledged before
//! it began, and the wake-ups for whoever waits for news.

mod announcements;
mod freshness;
mod tailer;
mod waiters;

pub use self::{
    freshness::Freshness,
    tailer::{Batch, CacheKeeper, Tailer, TailerOptions},
    waiters::{Wait, Waiters},
};
