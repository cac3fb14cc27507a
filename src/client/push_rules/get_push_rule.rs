//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid>

use ruma::api::client::push::{
    get_pushrule::v3::{Request, Response},
    get_pushrule_actions::v3 as get_actions,
    get_pushrule_enabled::v3 as get_enabled,
};
use stoa_http::{Answer, Error, Result, Ruma};

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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn one_rule_is_given_by_kind_and_name(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/pushrules/global/override/.m.rule.master";
            let rule = alice.get(path).await.ok();
            assert_eq!(rule["rule_id"], ".m.rule.master");
            assert_eq!(rule["default"], true);
            let actions = alice.get(&format!("{path}/actions")).await.ok();
            assert_eq!(actions, json!({ "actions": rule["actions"] }));
            let enabled = alice.get(&format!("{path}/enabled")).await.ok();
            assert_eq!(enabled, json!({ "enabled": false }));
        }

        async fn a_rule_that_is_not_there_is_not_found(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for place in ["room/.m.rule.master", "override/.m.rule.none", "unknown/.m.rule.master"] {
                let path = format!("/_matrix/client/v3/pushrules/global/{place}");
                for suffix in ["", "/actions", "/enabled"] {
                    let answer = alice.get(&format!("{path}{suffix}")).await;
                    answer.refused(404, "M_NOT_FOUND");
                }
            }
        }
    }
}
