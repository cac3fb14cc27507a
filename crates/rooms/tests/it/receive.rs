//! The same events lead to the same state, in whatever order they arrive.

use std::collections::{BTreeSet, HashMap, HashSet};

use rand::{SeedableRng, rngs::StdRng, seq::IteratorRandom};
use ruma::OwnedEventId;
use stoa_rooms::{VisibleState, pdu::Pdu, state::Part};
use stoa_testing::{Backend, TestDatabase, TestRooms, run_on, state_events};

use crate::fixture::{Fixture, FixtureEvent, Scenario};

/// Feeds the scenario's events in a random order in which each follows its `prev_events` and
/// `auth_events`. Gives the names of the events in the state after all leaves.
async fn feed(
    database: &TestDatabase,
    fixture: &Fixture,
    scenario: &Scenario,
    seed: u64,
) -> BTreeSet<String> {
    let TestRooms { rooms, .. } = TestRooms::start(database).await;
    let rules = fixture.rules();
    let mut waiting: Vec<(&FixtureEvent, Pdu)> = fixture
        .events(scenario)
        .map(|event| (event, Pdu::from_canonical(&event.pdu, &rules).unwrap()))
        .collect();
    let names: HashMap<OwnedEventId, String> =
        waiting.iter().map(|(event, _)| (event.id.clone(), event.name.clone())).collect();
    let mut leaves: HashSet<OwnedEventId> = names.keys().cloned().collect();
    for (_, pdu) in &waiting {
        leaves.retain(|id| !pdu.prev_events.contains(id));
    }
    let room_id = waiting[0].1.room_id.clone();
    let room = rooms.receiving.room(room_id, &fixture.room_version).await.unwrap();

    let mut random = StdRng::seed_from_u64(seed);
    let mut fed: HashSet<OwnedEventId> = HashSet::new();
    while !waiting.is_empty() {
        let is_ready =
            |pdu: &Pdu| pdu.prev_events.iter().chain(&pdu.auth_events).all(|id| fed.contains(id));
        let next = (0..waiting.len())
            .filter(|index| is_ready(&waiting[*index].1))
            .choose(&mut random)
            .expect("a graph without cycles");
        let (_, pdu) = waiting.remove(next);
        fed.insert(pdu.event_id.clone());
        if random_bool(&mut random) {
            // Some arrive as outliers first and find their place later.
            rooms.receiving.outlier(&room, pdu.clone()).await.unwrap();
        }
        rooms.receiving.event(&room, pdu).await.unwrap();
    }
    let leaves: Vec<OwnedEventId> = leaves.into_iter().collect();
    let state = rooms.forks.state_after(&room.rules, &leaves).await.unwrap();
    let events = state_events(&rooms, VisibleState::unchecked(state), Part::All).await;
    events.iter().map(|event| names[&event.pdu.event_id].clone()).collect()
}

fn random_bool(random: &mut StdRng) -> bool {
    use rand::RngExt as _;
    random.random_bool(0.3)
}

async fn orders_do_not_matter(backend: Backend, graphs: usize) {
    for version in 6..=12 {
        let fixture = Fixture::read(version);
        let random_graphs =
            fixture.scenarios.iter().filter(|scenario| scenario.name.starts_with("random"));
        for (seed, scenario) in (0u64..).zip(random_graphs.take(graphs)) {
            let mut outcomes = Vec::new();
            for order in 0..2 {
                let database = TestDatabase::create(backend).await.expect("a database");
                outcomes.push(feed(&database, &fixture, scenario, 2 * seed + order).await);
            }
            assert_eq!(outcomes[0], outcomes[1], "version {version}, {}", scenario.name);
        }
    }
}

#[test]
fn events_in_different_orders_lead_to_the_same_state() {
    run_on(Backend::Sqlite, async |_| orders_do_not_matter(Backend::Sqlite, 6).await);
}

#[test]
fn events_in_different_orders_lead_to_the_same_state_on_postgresql() {
    run_on(Backend::Postgres, async |_| orders_do_not_matter(Backend::Postgres, 1).await);
}
