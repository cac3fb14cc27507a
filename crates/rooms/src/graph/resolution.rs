//! State resolution: merges the states of several forward extremities into one.
//!
//! `ruma` has the algorithm; this module adds what it needs: the auth chains and the conflicted
//! subgraph. Everything is pure: events are looked up in memory, and nothing waits. Events that
//! were looked up but are not there are returned in [`ResolutionError::Missing`], so that the
//! caller can load them and call again. A result therefore never depends on what happened to be
//! loaded.
//!
//! The graphs come from other servers. No walk recurses, and none visits an event twice.

use std::{
    borrow::Borrow,
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
};

use ruma::{
    EventId, OwnedEventId,
    room_version_rules::RoomVersionRules,
    state_res::{self, utils::event_id_set::EventIdSet},
};

use crate::graph::pdu::Pdu;

/// A room's state: the event that set each type and state key.
pub type StateMap = state_res::StateMap<OwnedEventId>;

/// Why the state could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolutionError {
    /// Events were looked up that are not in memory. They are in the order of their ids.
    #[error("{} events are missing, {} first", .0.len(), .0.first().map_or("", |id| id.as_str()))]
    Missing(Vec<OwnedEventId>),
    /// Room version 1, which resolves state differently.
    #[error("the room version's state resolution is not supported")]
    UnsupportedRoomVersion,
    /// An accepted event cannot be read, or is not a state event where it has to be.
    #[error(transparent)]
    Algorithm(#[from] state_res::Error),
}

/// Resolves the states in `state_sets`, one for each fork, to one state.
///
/// `events` looks up an event of the room by its id. It is asked for the events in conflict and
/// their auth chains, and for the events of the agreed state that authorize them. If the auth
/// chains of the forks differ in an event that is not in conflict itself, it is also asked for the
/// auth chain of the agreed state. If it does not know an event, the result is
/// [`ResolutionError::Missing`]. Since one lookup leads to the next, load the auth chains of the
/// missing events along with them.
///
/// The outcome does not depend on the order of `state_sets`.
pub fn resolve<'e>(
    rules: &RoomVersionRules,
    state_sets: &[StateMap],
    events: impl Fn(&EventId) -> Option<&'e Pdu>,
) -> Result<StateMap, ResolutionError> {
    let Some(state_res_rules) = rules.state_res.v2_rules() else {
        return Err(ResolutionError::UnsupportedRoomVersion);
    };
    let Some((first, rest)) = state_sets.split_first() else {
        return Ok(StateMap::new());
    };
    if rest.iter().all(|state| state == first) {
        return Ok(first.clone());
    }

    let events = Lookup::new(events);
    let chains = differing_auth_chains(state_sets, &events);
    events.complete()?;
    let resolved = state_res::resolve(
        &rules.authorization,
        state_res_rules,
        state_sets,
        chains,
        |id| events.get(id),
        |conflicted| {
            let ids = conflicted.values().flatten().map(Borrow::borrow);
            Some(walk_subgraph(ids, &events).into_iter().map(ToOwned::to_owned).collect())
        },
    );
    // If anything is missing, any outcome is void, even an error.
    events.complete()?;
    Ok(resolved?)
}

/// The auth chain of `from`: these events, their auth events, and so on up to the room's create
/// event.
///
/// The events themselves are included. The wording of the specification excludes them, but all
/// servers count them in the difference of auth chains.
pub fn auth_chain<'a, 'e: 'a>(
    from: impl IntoIterator<Item = &'a EventId>,
    events: impl Fn(&EventId) -> Option<&'e Pdu>,
) -> Result<HashSet<&'a EventId>, ResolutionError> {
    let events = Lookup::new(events);
    let chain = walk_auth_chain(from, |_| false, &events);
    events.complete()?;
    Ok(chain)
}

/// The conflicted state subgraph of the events in conflict: every event on a path of auth events
/// from one of them to another, including both ends.
///
/// <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>
pub fn conflicted_subgraph<'a, 'e: 'a>(
    conflicted: impl IntoIterator<Item = &'a EventId>,
    events: impl Fn(&EventId) -> Option<&'e Pdu>,
) -> Result<HashSet<&'a EventId>, ResolutionError> {
    let events = Lookup::new(events);
    let subgraph = walk_subgraph(conflicted, &events);
    events.complete()?;
    Ok(subgraph)
}

/// The events in memory, and a record of all failed lookups.
struct Lookup<F> {
    events: F,
    missing: RefCell<BTreeSet<OwnedEventId>>,
}

impl<'e, F: Fn(&EventId) -> Option<&'e Pdu>> Lookup<F> {
    fn new(events: F) -> Self {
        Self { events, missing: RefCell::default() }
    }

    fn get(&self, id: &EventId) -> Option<&'e Pdu> {
        let found = (self.events)(id);
        if found.is_none() {
            self.missing.borrow_mut().insert(id.to_owned());
        }
        found
    }

    /// An error that names the events whose lookup has failed so far, if any.
    fn complete(&self) -> Result<(), ResolutionError> {
        let missing = self.missing.take();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(ResolutionError::Missing(missing.into_iter().collect()))
        }
    }
}

/// Walks from `from` along auth events. Events for which `known` is true are neither included nor
/// walked through.
fn walk_auth_chain<'a, 'e: 'a>(
    from: impl IntoIterator<Item = &'a EventId>,
    known: impl Fn(&EventId) -> bool,
    events: &Lookup<impl Fn(&EventId) -> Option<&'e Pdu>>,
) -> HashSet<&'a EventId> {
    let mut chain = HashSet::new();
    let mut to_visit: Vec<&'a EventId> = from.into_iter().collect();
    while let Some(id) = to_visit.pop() {
        if known(id) || !chain.insert(id) {
            continue;
        }
        let auth_events = events.get(id).map_or(&[][..], |event| &event.auth_events);
        to_visit.extend(auth_events.iter().map(|id| &**id));
    }
    chain
}

/// Walks from the conflicted events along auth events, then back along the same edges. An event is
/// on a path between two conflicted events if it is reached both ways.
fn walk_subgraph<'a, 'e: 'a>(
    conflicted: impl IntoIterator<Item = &'a EventId>,
    events: &Lookup<impl Fn(&EventId) -> Option<&'e Pdu>>,
) -> HashSet<&'a EventId> {
    let conflicted: Vec<&'a EventId> = conflicted.into_iter().collect();
    let chain = walk_auth_chain(conflicted.iter().copied(), |_| false, events);
    let mut allows: HashMap<&EventId, Vec<&'a EventId>> = HashMap::new();
    for &id in &chain {
        let auth_events = events.get(id).map_or(&[][..], |event| &event.auth_events);
        for auth_event in auth_events {
            allows.entry(auth_event).or_default().push(id);
        }
    }

    let mut subgraph = HashSet::new();
    let mut to_visit = conflicted;
    while let Some(id) = to_visit.pop() {
        if subgraph.insert(id) {
            to_visit.extend(allows.get(id).into_iter().flatten());
        }
    }
    subgraph
}

/// For each state set, its auth chain without the events that all chains have in common anyway.
///
/// The algorithm takes the union of the chains minus their intersection, so an event that is left
/// out of all of them changes nothing. The chain of the agreed state is part of all chains, and
/// most of a large room's state is agreed, so that chain is walked only if the difference of the
/// rest depends on it.
fn differing_auth_chains<'e>(
    state_sets: &[StateMap],
    events: &Lookup<impl Fn(&EventId) -> Option<&'e Pdu>>,
) -> Vec<EventIdSet<OwnedEventId>> {
    let Some((first, rest)) = state_sets.split_first() else { return Vec::new() };
    let agreed: HashSet<&EventId> = first
        .iter()
        .filter(|(key, id)| rest.iter().all(|state| state.get(key) == Some(id)))
        .map(|(_, id)| &**id)
        .collect();
    let chains: Vec<HashSet<&EventId>> = state_sets
        .iter()
        .map(|state| {
            let ids = state.values().map(|id| &**id);
            walk_auth_chain(ids, |id| agreed.contains(id), events)
        })
        .collect();

    let in_conflict: HashSet<&EventId> =
        state_sets.iter().flat_map(StateMap::values).map(|id| &**id).collect();
    let undecided = chains
        .iter()
        .flatten()
        .any(|id| !in_conflict.contains(id) && !chains.iter().all(|chain| chain.contains(id)));
    let in_all = if undecided {
        walk_auth_chain(agreed.iter().copied(), |_| false, events)
    } else {
        HashSet::new()
    };
    chains
        .into_iter()
        .map(|chain| chain.difference(&in_all).map(|&id| id.to_owned()).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use ruma::{RoomVersionId, events::StateEventType};
    use serde_json::json;

    use super::*;

    fn rules() -> RoomVersionRules {
        RoomVersionId::V12.rules().unwrap()
    }

    fn id(name: &str) -> OwnedEventId {
        OwnedEventId::try_from(format!("${name}")).unwrap()
    }

    /// A topic event with these auth events.
    fn event(name: &str, cited: &[impl AsRef<str>]) -> (OwnedEventId, Pdu) {
        let auth_events: Vec<_> = cited.iter().map(|name| id(name.as_ref())).collect();
        let json = json!({
            "room_id": "!room", "sender": "@alice:a.test", "type": "m.room.topic", "state_key": "",
            "content": {}, "prev_events": [], "auth_events": auth_events, "depth": 1,
            "origin_server_ts": 1,
        });
        (id(name), Pdu::from_stored(id(name), json.to_string(), &rules()).unwrap())
    }

    fn names(ids: &HashSet<&EventId>) -> BTreeSet<String> {
        ids.iter().map(|id| id.as_str()[1..].to_owned()).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().copied().map(ToOwned::to_owned).collect()
    }

    fn graph(edges: &[(&str, &[&str])]) -> HashMap<OwnedEventId, Pdu> {
        edges.iter().map(|(name, cited)| event(name, cited)).collect()
    }

    #[test]
    fn the_subgraph_consists_of_the_events_between_conflicted_events() {
        let events = graph(&[
            ("root", &[]),
            ("old", &["root"]),
            ("between", &["old"]),
            ("new", &["between", "root"]),
            ("side", &["between"]),
        ]);
        let conflicted = [id("new"), id("old"), id("side")];
        let fetch = |id: &EventId| events.get(id);
        let found = conflicted_subgraph(conflicted.iter().map(|id| &**id), fetch).unwrap();
        assert_eq!(names(&found), set(&["new", "old", "side", "between"]));

        let conflicted = [id("new"), id("side")];
        let found = conflicted_subgraph(conflicted.iter().map(|id| &**id), fetch).unwrap();
        assert_eq!(names(&found), set(&["new", "side"]));
    }

    #[test]
    fn a_gap_in_an_auth_chain_is_an_error_that_names_all_missing_events() {
        let events = graph(&[("tip", &["left", "right", "there"]), ("there", &["deep"])]);
        let fetch = |id: &EventId| events.get(id);
        let Err(ResolutionError::Missing(missing)) = auth_chain([&*id("tip")], fetch) else {
            panic!("the gap went unnoticed");
        };
        assert_eq!(missing, [id("deep"), id("left"), id("right")]);
    }

    /// Each layer refers to both events of the layer below, so the number of paths doubles with
    /// every layer. A walk that follows every path separately would never end.
    #[test]
    fn a_graph_with_countless_paths_is_walked_once() {
        let layers = 2_000;
        let mut events = HashMap::new();
        for layer in 0..layers {
            let below: Vec<_> = match layer {
                0 => Vec::new(),
                _ => ["a", "b"].map(|side| format!("{side}{}", layer - 1)).to_vec(),
            };
            events.extend(["a", "b"].map(|side| event(&format!("{side}{layer}"), &below)));
        }
        let fetch = |id: &EventId| events.get(id);
        let ends = [id(&format!("a{}", layers - 1)), id("b0")];
        let ends = || ends.iter().map(|id| &**id);
        // Everything but the other event of the top layer; then also without the other one at the
        // bottom.
        assert_eq!(auth_chain(ends(), fetch).unwrap().len(), 2 * layers - 1);
        assert_eq!(conflicted_subgraph(ends(), fetch).unwrap().len(), 2 * layers - 2);
    }

    #[test]
    fn a_chain_longer_than_any_stack_is_walked() {
        let length = 100_000;
        let mut events = HashMap::from([event("e0", &[""; 0])]);
        events.extend((1..length).map(|i| event(&format!("e{i}"), &[format!("e{}", i - 1)])));
        let fetch = |id: &EventId| events.get(id);
        let ends = [id(&format!("e{}", length - 1)), id("e0")];
        let ends = || ends.iter().map(|id| &**id);
        assert_eq!(auth_chain(ends(), fetch).unwrap().len(), length);
        assert_eq!(conflicted_subgraph(ends(), fetch).unwrap().len(), length);
    }

    /// States that agree are resolved without any event in memory, however large they are.
    #[test]
    fn no_events_are_looked_up_for_states_that_agree() {
        let key = (StateEventType::RoomTopic, String::new());
        let state = StateMap::from([(key, id("topic"))]);
        let nothing = |_: &EventId| None;
        let resolved = resolve(&rules(), &[state.clone(), state.clone()], nothing).unwrap();
        assert_eq!(resolved, state);
        assert!(resolve(&rules(), &[], nothing).unwrap().is_empty());
    }
}
