//! What is new.

#[expect(clippy::module_inception, reason = "the operation has the name of its chapter")]
pub(crate) mod sync;
