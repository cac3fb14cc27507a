//! What clients get from a sync, on both databases.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at what it does not expect"
)]

mod account_data;
mod client;
mod filters;
mod lazy_members;
mod membership;
mod receipts;
mod recent_rooms;
mod site;
mod state;
mod summary;
mod timeline;
mod typing;
mod waiting;
