//! `GET /_matrix/client/v3/profile/{userId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::profile::get_profile::v3::{Request, Response};
use stoa_accounts::Profiles;
use stoa_http::{Answer, Error, MayReadProfiles, Result, Ruma};

/// Returns the whole profile of a user, to everybody who may read profiles.
pub(crate) async fn get_profile(
    State(profiles): State<Arc<Profiles>>,
    _: MayReadProfiles,
    Ruma { body, .. }: Ruma<Request>,
) -> Result<Answer<Response>> {
    let profile = profiles.get(&body.user_id).await?;
    let profile = profile.ok_or_else(|| Error::not_found("There is no such user."))?;
    Ok(Answer(profile.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn a_profile_is_shown_to_anybody(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/profile/@alice:test";
            let name = json!({ "displayname": "Alice" });
            alice.put(&format!("{path}/displayname"), name).await.ok();
            let avatar = json!({ "avatar_url": "mxc://test/cat" });
            alice.put(&format!("{path}/avatar_url"), avatar).await.ok();
            let expected = json!({ "displayname": "Alice", "avatar_url": "mxc://test/cat" });
            assert_eq!(server.client().get(path).await.ok(), expected);
        }

        async fn profiles_can_be_kept_from_strangers(db: TestDatabase) {
            let server =
                TestServer::start_with(db, |config, _| config.anonymous.profiles = false).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/profile/@alice:test";
            let name = format!("{path}/displayname");
            alice.put(&name, json!({ "displayname": "Alice" })).await.ok();
            for path in [path, &*name, "/_matrix/client/v3/profile/@nobody:test"] {
                server.client().get(path).await.refused(401, "M_MISSING_TOKEN");
                let impostor = server.client().with_token("made up");
                impostor.get(path).await.refused(401, "M_UNKNOWN_TOKEN");
            }
            assert_eq!(alice.get(path).await.ok(), json!({ "displayname": "Alice" }));
            assert_eq!(alice.get(&name).await.ok(), json!({ "displayname": "Alice" }));
        }

        async fn an_unknown_user_has_no_profile(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let client = server.client();
            let nobody = client.get("/_matrix/client/v3/profile/@nobody:test").await;
            nobody.refused(404, "M_NOT_FOUND");
            let invalid = client.get("/_matrix/client/v3/profile/nobody").await;
            invalid.refused(400, "M_INVALID_PARAM");
        }

        async fn a_slash_in_a_name_does_not_end_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let user = server.register("user/5").await;
            let path = "/_matrix/client/v3/profile/@user%2F5:test";
            user.put(&format!("{path}/displayname"), json!({ "displayname": "Five" })).await.ok();
            let profile = server.client().get(path).await.ok();
            assert_eq!(profile, json!({ "displayname": "Five" }));
        }
    }
}
