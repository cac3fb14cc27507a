//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled>

use ruma::api::client::push::get_pushrule_enabled::v3::{Request, Response};
use stoa_http::{Answer, Result, Ruma};

use super::no_rule;

/// Returns whether one push rule is enabled.
pub(crate) async fn get_pushrule_enabled(
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let rules = stoa_push::rules(&session.user_id);
    let rule = rules.get(body.kind, &body.rule_id).ok_or_else(no_rule)?;
    Ok(Answer(Response::new(rule.enabled())))
}
