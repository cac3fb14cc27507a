//! `GET /_matrix/client/v3/capabilities`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities>

use std::collections::BTreeMap;

use axum::extract::State;
use ruma::{RoomVersionId, api::client::discovery::get_capabilities::v3::Request};
use serde::Serialize;
use stoa_config::SUPPORTED_ROOM_VERSIONS;
use stoa_http::{Ruma, respond::Json};

use crate::app::AppState;

/// Returns what clients can do. ruma's type leaves out every value that is the specification's
/// default, but some clients assume other defaults.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    capabilities: Capabilities,
}

#[derive(Debug, Serialize)]
struct Capabilities {
    #[serde(rename = "m.room_versions")]
    room_versions: RoomVersions,
    #[serde(rename = "m.change_password")]
    change_password: Enabled,
    #[serde(rename = "m.set_displayname")]
    set_displayname: Enabled,
    #[serde(rename = "m.set_avatar_url")]
    set_avatar_url: Enabled,
    #[serde(rename = "m.profile_fields")]
    profile_fields: Enabled,
    #[serde(rename = "m.3pid_changes")]
    thirdparty_id_changes: Enabled,
    #[serde(rename = "m.get_login_token")]
    get_login_token: Enabled,
}

#[derive(Debug, Serialize)]
struct RoomVersions {
    default: RoomVersionId,
    available: BTreeMap<RoomVersionId, &'static str>,
}

#[derive(Debug, Serialize)]
struct Enabled {
    enabled: bool,
}

const ON: Enabled = Enabled { enabled: true };
const OFF: Enabled = Enabled { enabled: false };

pub(crate) async fn get_capabilities(
    State(state): State<AppState>,
    _: Ruma<Request>,
) -> Json<Response> {
    let stable = SUPPORTED_ROOM_VERSIONS.into_iter().map(|version| (version, "stable"));
    Json(Response {
        capabilities: Capabilities {
            room_versions: RoomVersions {
                default: state.config.rooms.default_version.clone(),
                available: stable.collect(),
            },
            change_password: ON,
            set_displayname: ON,
            set_avatar_url: ON,
            profile_fields: ON,
            thirdparty_id_changes: OFF,
            get_login_token: OFF,
        },
    })
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;
    use serde_json::json;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn all_capabilities_are_listed(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let answer = alice.get("/_matrix/client/v3/capabilities").await.ok();
            assert_eq!(
                answer,
                json!({ "capabilities": {
                    "m.room_versions": {
                        "default": "12",
                        "available": {
                            "6": "stable", "7": "stable", "8": "stable", "9": "stable",
                            "10": "stable", "11": "stable", "12": "stable",
                        },
                    },
                    "m.change_password": { "enabled": true },
                    "m.set_displayname": { "enabled": true },
                    "m.set_avatar_url": { "enabled": true },
                    "m.profile_fields": { "enabled": true },
                    "m.3pid_changes": { "enabled": false },
                    "m.get_login_token": { "enabled": false },
                } })
            );
        }

        async fn the_default_room_version_is_the_configured_one(db: TestDatabase) {
            let server = TestServer::start_with(db, |config, _| {
                config.rooms.default_version = RoomVersionId::V11;
            })
            .await;
            let alice = server.register("alice").await;
            let answer = alice.get("/_matrix/client/v3/capabilities").await.ok();
            assert_eq!(answer["capabilities"]["m.room_versions"]["default"], "11");
        }
    }
}
