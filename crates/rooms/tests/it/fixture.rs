//! Reads the graphs that `make_fixtures.py` made.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use ruma::{
    CanonicalJsonObject, OwnedEventId, RoomVersionId,
    room_version_rules::RoomVersionRules,
    serde::{Base64, base64::Standard},
};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Fixture {
    pub(crate) room_version: RoomVersionId,
    pub(crate) keys: BTreeMap<String, BTreeMap<String, Base64<Standard>>>,
    pub(crate) rooms: HashMap<String, Vec<FixtureEvent>>,
    pub(crate) scenarios: Vec<Scenario>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct FixtureEvent {
    pub(crate) name: String,
    pub(crate) id: OwnedEventId,
    pub(crate) pdu: CanonicalJsonObject,
}

#[derive(Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) room: Option<String>,
    pub(crate) events: Vec<FixtureEvent>,
    pub(crate) rejected: BTreeSet<String>,
    pub(crate) resolutions: Vec<Resolution>,
}

#[derive(Deserialize)]
pub(crate) struct Resolution {
    pub(crate) before: Option<String>,
    pub(crate) extremities: Option<Vec<String>>,
    pub(crate) states: Vec<BTreeSet<String>>,
    pub(crate) resolved: BTreeSet<String>,
}

impl Fixture {
    pub(crate) fn read(version: u8) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/state_resolution/v{version}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    pub(crate) fn rules(&self) -> RoomVersionRules {
        self.room_version.rules().unwrap()
    }

    /// The events of a scenario and of the room it starts from, in order.
    pub(crate) fn events<'a>(
        &'a self,
        scenario: &'a Scenario,
    ) -> impl Iterator<Item = &'a FixtureEvent> {
        let room = scenario.room.iter().flat_map(|room| &self.rooms[room]);
        room.chain(&scenario.events)
    }
}
