//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid>

use ruma::api::client::push::{
    get_pushrule::v3::{Request, Response},
    get_pushrule_actions::v3 as get_actions,
    get_pushrule_enabled::v3 as get_enabled,
};

use crate::http::{Answer, Error, Result, Ruma};

/// Gives one rule.
pub(crate) async fn get_push_rule(
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let rules = stoa_push::rules(&session.user_id);
    let rule = rules.get(body.kind, &body.rule_id).ok_or_else(no_rule)?;
    Ok(Answer(Response::new(rule.into())))
}

/// Says what one rule does.
pub(crate) async fn get_push_rule_actions(
    Ruma { body, session, .. }: Ruma<get_actions::Request>,
) -> Result<Answer<get_actions::Response>> {
    let rules = stoa_push::rules(&session.user_id);
    let rule = rules.get(body.kind, &body.rule_id).ok_or_else(no_rule)?;
    Ok(Answer(get_actions::Response::new(rule.actions().to_vec())))
}

/// Says whether one rule is on.
pub(crate) async fn get_push_rule_enabled(
    Ruma { body, session, .. }: Ruma<get_enabled::Request>,
) -> Result<Answer<get_enabled::Response>> {
    let rules = stoa_push::rules(&session.user_id);
    let rule = rules.get(body.kind, &body.rule_id).ok_or_else(no_rule)?;
    Ok(Answer(get_enabled::Response::new(rule.enabled())))
}

fn no_rule() -> Error {
    Error::not_found("There is no such rule.")
}
