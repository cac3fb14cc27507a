//! What is new for a user: streams of news, and the ways to ask for them.
//!
//! A stream is one kind of news about rooms: their timelines, their state, receipts, … each in a
//! file of its own under [`stream`]. It is asked for [`Span`]s of rooms and knows nothing of requests.
//! [`room_news`] reads all streams in their order and gives the news of each room, complete and
//! written for the client. [`v3`] chooses the spans and arranges the news into the answer of `/sync`;
//! another way to sync chooses other spans and arranges the same news otherwise.
//!
//! # One moment
//!
//! An answer is bounded by one head of the log, `H`, up to which this node has applied everything
//! when the request is looked at; its token is `H`. Nothing is skipped: whatever is not in the
//! answer has a position above `H` and comes with the next one. What follows for each kind of row:
//!
//! - *Events and changes of state* are only ever added, each with its position: they are read up to
//!   `H`, and so are exactly as of `H`.
//! - *Memberships* are overwritten. One whose position is above `H` is read from the changes of the
//!   state instead, as it was at `H`.
//! - *Account data* is overwritten, and its newest version may be given early: it is given again with
//!   the next answer, which is harmless.
//! - *Receipts* are overwritten, and are read up to `H`: one that moved beyond comes with the next
//!   answer, and none names an event that the client cannot have yet.
//! - *The counts and heroes of a room's summary* may be newer than `H`; the member event that
//!   changed them is above `H`, so they are given again.
//! - *Typing* has a counter of its own.

mod changes;
mod error;
pub mod filter;
mod known_members;
mod reader;
pub mod room_news;
mod span;
mod standing;
mod stream;
mod streams;
pub mod v3;
pub mod wants;

pub use self::{
    changes::ChangeIndex,
    error::{Result, SyncError},
    reader::Reader,
    span::{End, KnownState, Span},
    standing::Departure,
    streams::{Parts, Streams},
};
