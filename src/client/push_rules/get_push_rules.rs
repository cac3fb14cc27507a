//! `GET /_matrix/client/v3/pushrules/`, `GET /_matrix/client/v3/pushrules/global/`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules>,
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>

use ruma::api::client::push::{
    get_pushrules_all::v3 as get_all, get_pushrules_global_scope::v3 as get_global,
};

use crate::http::{Answer, Ruma};

/// Gives all rules, by scope.
pub(crate) async fn get_push_rules(
    Ruma { session, .. }: Ruma<get_all::Request>,
) -> Answer<get_all::Response> {
    Answer(get_all::Response::new(stoa_push::rules(&session.user_id)))
}

/// Gives the rules of the one scope there is.
pub(crate) async fn get_global_push_rules(
    Ruma { session, .. }: Ruma<get_global::Request>,
) -> Answer<get_global::Response> {
    Answer(get_global::Response::new(stoa_push::rules(&session.user_id)))
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
