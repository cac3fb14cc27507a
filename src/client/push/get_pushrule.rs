//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid>

use ruma::api::client::push::get_pushrule::v3::{Request, Response};
use stoa_http::{Answer, Result, Ruma};

use super::no_rule;

/// Returns one push rule.
pub(crate) async fn get_pushrule(
    Ruma { body, session, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let rules = stoa_push::rules(&session.user_id);
    let rule = rules.get(body.kind, &body.rule_id).ok_or_else(no_rule)?;
    Ok(Answer(Response::new(rule.into())))
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

        async fn an_unknown_rule_is_not_found(db: TestDatabase) {
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
