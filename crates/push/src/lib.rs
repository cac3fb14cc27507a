//! Notifications: the default push rules, read receipts and read markers.

mod read_state;
mod rules;

pub use self::{
    read_state::{Mark, MarkKind, ReadState, ReadStateError, Receipt},
    rules::rules,
};
