//! State resolution, on the forked graphs of the tests of rooms.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use divan::Bencher;
use ruma::{CanonicalJsonObject, OwnedEventId, RoomVersionId, events::StateEventType};
use serde::Deserialize;
use stoa_rooms::{
    pdu::Pdu,
    resolution::{StateMap, resolve},
};

#[derive(Deserialize)]
struct Fixture {
    rooms: HashMap<String, Vec<Event>>,
    scenarios: Vec<Scenario>,
}

#[derive(Clone, Deserialize)]
struct Event {
    name: String,
    pdu: CanonicalJsonObject,
}

#[derive(Deserialize)]
struct Scenario {
    room: Option<String>,
    events: Vec<Event>,
    rejected: BTreeSet<String>,
    resolutions: Vec<Resolution>,
}

#[derive(Deserialize)]
struct Resolution {
    states: Vec<BTreeSet<String>>,
}

/// The scenario with the most events: each fork in it is resolved once.
#[divan::bench]
fn forks_of_the_largest_graph(bencher: Bencher<'_, '_>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/rooms/tests/fixtures/state_resolution/v12.json");
    let text = std::fs::read_to_string(path).expect("the fixture");
    let fixture: Fixture = serde_json::from_str(&text).expect("a fixture");
    let rules = RoomVersionId::V12.rules().expect("the rules of a known version");
    let largest = fixture.scenarios.iter().max_by_key(|scenario| scenario.events.len());
    let scenario = largest.expect("a scenario");

    let room = scenario.room.iter().flat_map(|room| &fixture.rooms[room]);
    let (mut by_name, mut by_id) = (HashMap::new(), HashMap::new());
    for event in room.chain(&scenario.events) {
        let mut pdu = Pdu::from_canonical(&event.pdu, &rules).expect("an event");
        pdu.rejected = scenario.rejected.contains(&event.name);
        by_name.insert(&event.name, entry(&pdu));
        by_id.insert(pdu.event_id.clone(), pdu);
    }
    let state = |names: &BTreeSet<String>| -> StateMap {
        names.iter().filter_map(|name| by_name[name].clone()).collect()
    };
    let forks: Vec<Vec<StateMap>> = scenario
        .resolutions
        .iter()
        .map(|resolution| resolution.states.iter().map(state).collect())
        .collect();
    bencher.counter(divan::counter::ItemsCount::new(forks.len())).bench(|| {
        for states in &forks {
            let resolved = resolve(&rules, states, |id| by_id.get(id));
            divan::black_box(resolved.expect("a state"));
        }
    });
}

fn entry(event: &Pdu) -> Option<((StateEventType, String), OwnedEventId)> {
    let kind = StateEventType::from(event.event_type.to_string());
    Some(((kind, event.state_key.clone()?), event.event_id.clone()))
}
