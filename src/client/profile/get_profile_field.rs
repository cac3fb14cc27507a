//! `GET /_matrix/client/v3/profile/{userId}/{keyName}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname>

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use ruma::api::client::profile::get_profile_field::v3::Request;
use serde_json::Value;
use stoa_accounts::Profiles;
use stoa_http::{Error, MayReadProfiles, Result, Ruma, respond::Json};

/// Returns one field of a user's profile, to everybody who may read profiles.
pub(crate) async fn get_profile_field(
    State(profiles): State<Arc<Profiles>>,
    _: MayReadProfiles,
    Ruma { body, .. }: Ruma<Request>,
) -> Result<Json<BTreeMap<String, Value>>> {
    let field = body.field.as_str();
    let value = profiles.field(&body.user_id, field).await?;
    let value = value.ok_or_else(|| Error::not_found("There is no such user or field."))?;
    Ok(Json(BTreeMap::from([(field.to_owned(), value)])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn one_field_is_shown_to_anybody(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for path in [
                "/_matrix/client/v3/profile/@alice:test/displayname",
                "/_matrix/client/r0/profile/@alice:test/displayname",
            ] {
                alice.put(path, json!({ "displayname": path })).await.ok();
                let shown = server.client().get(path).await.ok();
                assert_eq!(shown, json!({ "displayname": path }));
            }
        }

        async fn a_field_that_is_not_set_is_not_found(db: TestDatabase) {
            let server = TestServer::start(db).await;
            server.register("alice").await;
            let client = server.client();
            for user in ["@alice:test", "@nobody:test"] {
                let path = format!("/_matrix/client/v3/profile/{user}/avatar_url");
                client.get(&path).await.refused(404, "M_NOT_FOUND");
            }
        }
    }
}
