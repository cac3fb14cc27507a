//! `GET /_matrix/client/v3/capabilities`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities>

use std::collections::BTreeMap;

use axum::extract::State;
use ruma::{RoomVersionId, api::client::discovery::get_capabilities::v3::Request};
use serde::Serialize;
use stoa_config::SUPPORTED_ROOM_VERSIONS;

use crate::{
    app::AppState,
    http::{Ruma, respond::Json},
};

/// What can be done here. ruma's type leaves out whatever has the value that the specification
/// assumes, and some clients assume otherwise.
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
