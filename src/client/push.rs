//! Push rules: when a user wants to be notified.

pub(crate) mod get_pushrule;
pub(crate) mod get_pushrule_actions;
pub(crate) mod get_pushrule_enabled;
pub(crate) mod get_pushrules_all;
pub(crate) mod get_pushrules_global_scope;

use std::collections::BTreeMap;

use ruma::{
    api::client::push::PushRule,
    push::{RuleKind, Ruleset},
};
use stoa_http::Error;

/// The rules of one scope, by kind. ruma's type leaves out a kind without rules, and some clients
/// look at each of them.
type Scope = BTreeMap<RuleKind, Vec<PushRule>>;

fn by_kind(rules: Ruleset) -> Scope {
    let Ruleset { override_, content, room, sender, underride, .. } = rules;
    Scope::from([
        (RuleKind::Override, override_.into_iter().map(Into::into).collect()),
        (RuleKind::Content, content.into_iter().map(Into::into).collect()),
        (RuleKind::Room, room.into_iter().map(Into::into).collect()),
        (RuleKind::Sender, sender.into_iter().map(Into::into).collect()),
        (RuleKind::Underride, underride.into_iter().map(Into::into).collect()),
    ])
}

fn no_rule() -> Error {
    Error::not_found("There is no such rule.")
}
