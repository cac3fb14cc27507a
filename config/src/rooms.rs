use ruma::RoomVersionId;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::parse;

/// The room versions that this server fully supports, oldest first.
pub const SUPPORTED_ROOM_VERSIONS: [RoomVersionId; 7] = [
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// Settings for rooms created on this server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rooms {
    /// The version of a new room if its creator does not ask for another one.
    #[serde(deserialize_with = "room_version")]
    #[schemars(schema_with = "supported_versions")]
    pub default_version: RoomVersionId,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { default_version: RoomVersionId::V12 }
    }
}

fn room_version<'de, D: Deserializer<'de>>(d: D) -> Result<RoomVersionId, D::Error> {
    parse::text(d, "a supported room version", |text| {
        SUPPORTED_ROOM_VERSIONS.into_iter().find(|version| version.as_str() == text)
    })
}

fn supported_versions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": SUPPORTED_ROOM_VERSIONS })
}
