//! Forked graphs, with outcomes taken from Synapse. `make_fixtures.py`, next to the fixtures, made
//! them.
//!
//! The graphs are replayed as a server would receive them: each event is checked by itself, against
//! its auth events and against the state before it, and forks are resolved when an event joins
//! them. Every step has to match Synapse's outcome.

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::{
    EventId, OwnedEventId, RoomVersionId,
    events::StateEventType,
    room_version_rules::RoomVersionRules,
    signatures::{PublicKeyMap, Verified, verify_event},
    state_res::{self, check_state_dependent_auth_rules, check_state_independent_auth_rules},
};
use stoa_rooms::{
    pdu::Pdu,
    resolution::{ResolutionError, StateMap, auth_chain, conflicted_subgraph, resolve},
};

use crate::fixture::{Fixture, Resolution, Scenario};

impl Fixture {
    fn graph(&self, scenario: &Scenario) -> Graph {
        let rules = self.rules();
        let mut graph = Graph { rules, events: HashMap::new(), ids: HashMap::new() };
        for event in self.events(scenario) {
            let mut pdu = Pdu::from_canonical(&event.pdu, &graph.rules).unwrap();
            assert_eq!(pdu.event_id, event.id, "{}", event.name);
            pdu.rejected = scenario.rejected.contains(&event.name);
            graph.ids.insert(event.name.clone(), event.id.clone());
            graph.events.insert(event.id.clone(), pdu);
        }
        graph
    }
}

/// A scenario's events in memory.
struct Graph {
    rules: RoomVersionRules,
    events: HashMap<OwnedEventId, Pdu>,
    ids: HashMap<String, OwnedEventId>,
}

impl Graph {
    fn get(&self, id: &EventId) -> Option<&Pdu> {
        self.events.get(id)
    }

    fn resolve(&self, states: &[StateMap]) -> StateMap {
        resolve(&self.rules, states, |id| self.get(id)).unwrap()
    }

    fn state(&self, names: &BTreeSet<String>) -> StateMap {
        names.iter().map(|name| entry(&self.events[&self.ids[name]])).collect()
    }

    fn states(&self, resolution: &Resolution) -> Vec<StateMap> {
        resolution.states.iter().map(|names| self.state(names)).collect()
    }

    fn names(&self, state: &StateMap) -> BTreeSet<String> {
        let ids: HashSet<_> = state.values().collect();
        self.ids.iter().filter(|(_, id)| ids.contains(id)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether the authorization rules accept the event if this is the state before it.
    fn allows(&self, event: &Pdu, before: &StateMap) -> bool {
        let claimed: HashMap<_, _> = event
            .auth_events
            .iter()
            .chain(before.get(&(StateEventType::RoomCreate, String::new())))
            .filter_map(|id| self.get(id))
            .map(|event| (entry(event).0, event))
            .collect();
        let authorization = &self.rules.authorization;
        check_state_independent_auth_rules(authorization, event, |id| self.get(id))
            .and_then(|()| {
                check_state_dependent_auth_rules(authorization, event, |ty, key| {
                    claimed.get(&(ty.clone(), key.to_owned())).copied()
                })
            })
            .and_then(|()| {
                check_state_dependent_auth_rules(authorization, event, |ty, key| {
                    self.get(before.get(&(ty.clone(), key.to_owned()))?)
                })
            })
            .is_ok()
    }
}

fn entry(event: &Pdu) -> ((StateEventType, String), OwnedEventId) {
    let ty = StateEventType::from(event.event_type.to_string());
    ((ty, event.state_key.clone().unwrap()), event.event_id.clone())
}

/// Calls `check` with each scenario of each room version and its graph.
fn for_each_scenario(check: impl Fn(&Fixture, &Scenario, Graph)) {
    for version in 6..=12 {
        let fixture = Fixture::read(version);
        assert_eq!(fixture.room_version.as_str(), version.to_string());
        assert!(fixture.scenarios.len() > 50);
        for scenario in &fixture.scenarios {
            println!("room version {version}, {}", scenario.name);
            check(&fixture, scenario, fixture.graph(scenario));
        }
    }
}

#[test]
fn events_have_the_ids_hashes_and_signatures_of_their_room_version() {
    for_each_scenario(|fixture, scenario, graph| {
        let keys: PublicKeyMap = fixture.keys.clone();
        for event in fixture.events(scenario) {
            let verified = verify_event(&keys, &event.pdu, &graph.rules);
            assert!(matches!(verified, Ok(Verified::All)), "{}: {verified:?}", event.name);
            let pdu = &graph.events[&event.id];
            assert_eq!(pdu.json(), serde_json::to_string(&event.pdu).unwrap());
            let create = &graph.events[&graph.ids["create"]];
            assert_eq!(pdu.room_id, create.room_id);
        }
    });
}

#[test]
fn forks_resolve_as_in_synapse_in_any_order() {
    for_each_scenario(|_, scenario, graph| {
        for resolution in &scenario.resolutions {
            let mut states = graph.states(resolution);
            assert_eq!(graph.names(&graph.resolve(&states)), resolution.resolved);
            states.reverse();
            assert_eq!(graph.names(&graph.resolve(&states)), resolution.resolved);
        }
    });
}

#[test]
fn a_replayed_graph_has_the_same_rejections_and_states_as_in_synapse() {
    for_each_scenario(|fixture, scenario, graph| {
        let mut after: HashMap<&EventId, StateMap> = HashMap::new();
        for event in fixture.events(scenario) {
            let pdu = &graph.events[&event.id];
            let states: Vec<_> = pdu.prev_events.iter().map(|id| after[&**id].clone()).collect();
            let mut state = graph.resolve(&states);
            if let Some(expected) = joined_before(scenario, Some(&event.name)) {
                assert_eq!(graph.names(&state), expected.resolved, "before {}", event.name);
            }
            let allowed = graph.allows(pdu, &state);
            assert_eq!(allowed, !scenario.rejected.contains(&event.name), "{}", event.name);
            if allowed && pdu.is_state() {
                state.extend([entry(pdu)]);
            }
            after.insert(&event.id, state);
        }
        if let Some(expected) = joined_before(scenario, None) {
            let leaves = expected.extremities.iter().flatten();
            let states: Vec<_> = leaves.map(|name| after[&*graph.ids[name]].clone()).collect();
            assert_eq!(graph.names(&graph.resolve(&states)), expected.resolved, "at the end");
        }
    });
}

/// The resolution that Synapse did for this event, or for the remaining extremities.
fn joined_before<'a>(scenario: &'a Scenario, name: Option<&str>) -> Option<&'a Resolution> {
    let joins = |r: &&Resolution| r.extremities.is_some() && r.before.as_deref() == name;
    scenario.resolutions.iter().find(joins)
}

/// Auth chains are walked only as far as the outcome depends on them. This test uses whole auth
/// chains, as the specification describes it.
#[test]
fn whole_auth_chains_give_the_same_outcome() {
    for_each_scenario(|_, scenario, graph| {
        for resolution in &scenario.resolutions {
            let states = graph.states(resolution);
            let fetch = |id: &EventId| graph.get(id);
            let chains = states.iter().map(|state| {
                let chain = auth_chain(state.values().map(|id| &**id), fetch).unwrap();
                chain.into_iter().map(ToOwned::to_owned).collect()
            });
            let resolved = state_res::resolve(
                &graph.rules.authorization,
                graph.rules.state_res.v2_rules().unwrap(),
                &states,
                chains.collect(),
                fetch,
                |conflicted| {
                    let ids = conflicted.values().flatten().map(|id| &**id);
                    let subgraph = conflicted_subgraph(ids, fetch).unwrap();
                    Some(subgraph.into_iter().map(ToOwned::to_owned).collect())
                },
            );
            assert_eq!(graph.names(&resolved.unwrap()), resolution.resolved);
        }
    });
}

/// A server with nothing in memory loads the events that are reported missing until none are, and
/// gets the same result as if it had had all of them from the start.
#[test]
fn loading_missing_events_leads_to_the_same_outcome() {
    for_each_scenario(|_, scenario, graph| {
        for resolution in &scenario.resolutions {
            let states = graph.states(resolution);
            let mut loaded: HashSet<OwnedEventId> = HashSet::new();
            let resolved = loop {
                let known = |id: &EventId| graph.get(id).filter(|_| loaded.contains(id));
                match resolve(&graph.rules, &states, known) {
                    Ok(resolved) => break resolved,
                    Err(ResolutionError::Missing(ids)) => {
                        assert!(!ids.is_empty());
                        for id in ids {
                            assert!(loaded.insert(id), "reported missing although it was loaded");
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            assert_eq!(graph.names(&resolved), resolution.resolved);
        }
    });
}

/// State that servers with a faulty history agree on is lost up to room version 11 and kept from 12
/// on (MSC4297). The difference shows that these scenarios distinguish the two algorithms.
#[test]
fn room_version_12_fixes_state_resets() {
    for_each_scenario(|fixture, scenario, graph| {
        let (resolution, reset) = match (&*scenario.name, &*scenario.resolutions) {
            ("reset_of_join_rules", [by_hand, ..]) => (by_hand, "closed"),
            ("reset_of_power_levels", [by_hand, ..]) => (by_hand, "promote-charlie"),
            _ => return,
        };
        let resolved = graph.names(&graph.resolve(&graph.states(resolution)));
        assert_eq!(resolved.contains(reset), fixture.room_version == RoomVersionId::V12);
    });
}
