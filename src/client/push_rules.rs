//! When a user wants to be notified.

pub(crate) mod get_push_rule;
pub(crate) mod get_push_rules;
