//! What a user is told of: push rules, how far everybody has read, and what follows from them.

mod read_state;
mod rules;

pub use self::{
    read_state::{Mark, MarkKind, ReadState, ReadStateError, Receipt},
    rules::rules,
};
