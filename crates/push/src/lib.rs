//! What a user is told of: push rules, and what follows from them.

mod rules;

pub use self::rules::rules;
