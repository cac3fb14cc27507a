//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions>

use ruma::api::client::push::get_pushrule_actions::v3::{Request, Response};
use stoa_http::{Answer, Result, Ruma};

use super::no_rule;

/// Returns the actions of one push rule.
pub(crate) async fn get_pushrule_actions(
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let rules = stoa_push::rules(&session.user_id);
    let rule = rules.get(body.kind, &body.rule_id).ok_or_else(no_rule)?;
    Ok(Answer(Response::new(rule.actions().to_vec())))
}
