//! `GET /_matrix/client/v3/pushrules/`, `GET /_matrix/client/v3/pushrules/global/`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules>,
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>

use std::collections::BTreeMap;

use ruma::{
    api::client::push::{
        PushRule, get_pushrules_all::v3 as get_all, get_pushrules_global_scope::v3 as get_global,
    },
    push::{RuleKind, Ruleset},
};
use serde::Serialize;
use stoa_http::{Ruma, respond::Json};

/// The rules of each scope.
#[derive(Debug, Serialize)]
pub(crate) struct Scopes {
    global: Scope,
}

/// The rules of one scope, by kind. ruma's type leaves out a kind without rules, and some clients
/// look at each of them.
type Scope = BTreeMap<RuleKind, Vec<PushRule>>;

/// Gives all rules, by scope.
pub(crate) async fn get_push_rules(Ruma { session, .. }: Ruma<get_all::Request>) -> Json<Scopes> {
    Json(Scopes { global: by_kind(stoa_push::rules(&session.user_id)) })
}

/// Gives the rules of the one scope there is.
pub(crate) async fn get_global_push_rules(
    Ruma { session, .. }: Ruma<get_global::Request>,
) -> Json<Scope> {
    Json(by_kind(stoa_push::rules(&session.user_id)))
}

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

#[cfg(test)]
mod tests {
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn everybody_starts_with_the_same_rules(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let rules = alice.get("/_matrix/client/v3/pushrules/").await.ok();
            for kind in ["override", "content", "room", "sender", "underride"] {
                assert!(rules["global"][kind].is_array(), "{rules}");
            }
            let first = &rules["global"]["override"][0];
            assert_eq!(first["rule_id"], ".m.rule.master");
            assert_eq!(first["enabled"], false);
            assert!(rules.to_string().contains("@alice:test"), "mentions are of the user");

            let without_slash = alice.get("/_matrix/client/v3/pushrules").await.ok();
            assert_eq!(without_slash, rules);
            for path in ["/_matrix/client/v3/pushrules/global/", "/_matrix/client/r0/pushrules/global/"] {
                assert_eq!(alice.get(path).await.ok(), rules["global"]);
            }
        }
    }
}
