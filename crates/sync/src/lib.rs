//! What is new for a user: kinds of news, and the ways to ask for them.
//!
//! Kinds of news about rooms are their timelines, their state, receipts, and so on. Each has its
//! own file under [`news`]. It is asked for [`Span`]s of rooms and knows nothing about requests.
//! [`room_news`] reads all kinds in order and gives the complete news of
//! each room, serialized for the client. [`v3`] chooses the spans and arranges the news into the
//! answer of `/sync`; another kind of sync can choose other spans and arrange the same news
//! differently.
//!
//! # One point in time
//!
//! Each answer is bounded by one head of the log, `H`: the position up to which this node has
//! applied everything when it starts on the answer. The answer's token is `H`. Nothing is skipped:
//! whatever is not in the answer has a position above `H` and comes with the next one. For each
//! kind of row, this means:
//!
//! - *Events and changes of state* are only ever added, each with its position. They are read up to
//!   `H`, so the answer shows them exactly as of `H`.
//! - *Memberships* are overwritten. If a membership's position is above `H`, the membership at `H`
//!   is taken from the changes of the room's state instead.
//! - *Account data* is overwritten, and its newest version may be sent early. It is sent again with
//!   the next answer, which is harmless.
//! - *Receipts* are overwritten, and read up to `H`. A receipt that has since moved beyond `H`
//!   comes with the next answer, and no receipt names an event that the client cannot have yet.
//! - *The counts and heroes of a room's summary* may be newer than `H`. The member event that
//!   changed them is above `H`, so they are sent again.
//! - *Typing* has its own counter.

mod changes;
mod error;
pub mod filter;
mod known_members;
mod news;
mod reader;
pub mod room_news;
mod sources;
mod span;
mod standing;
pub mod v3;
pub mod wants;

pub use self::{
    changes::ChangeIndex,
    error::{Result, SyncError},
    reader::Reader,
    sources::{Parts, Sources},
    span::{End, KnownState, Span},
    standing::Departure,
};
