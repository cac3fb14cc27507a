//! `GET /_matrix/client/v3/pushrules/`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules>

use ruma::api::client::push::get_pushrules_all::v3::Request;
use serde::Serialize;
use stoa_http::{Ruma, respond::Json};

use super::{Scope, by_kind};

/// The rules of each scope.
#[derive(Debug, Serialize)]
pub(crate) struct Scopes {
    global: Scope,
}

/// Returns all push rules, by scope.
pub(crate) async fn get_pushrules_all(Ruma { session, .. }: Ruma<Request>) -> Json<Scopes> {
    Json(Scopes { global: by_kind(stoa_push::rules(&session.user_id)) })
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
