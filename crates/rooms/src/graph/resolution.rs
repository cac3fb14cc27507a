//! State resolution: from the states before several forward extremities to one.
//!
//! `ruma` has the algorithm; here is what it needs beside it, the auth chains and the conflicted
//! subgraph. Everything is pure: events are looked up in memory, and nothing waits. Whatever was
//! looked up and is not there is named in [`ResolutionError::Missing`], so that the caller loads it
//! and calls again: an outcome never rests on a hole in what was loaded.
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
    /// Events were looked up that are not in memory, in the order of their ids.
    #[error("{} events are missing, {} first", .0.len(), .0.first().map_or("", |id| id.as_str()))]
    Missing(Vec<OwnedEventId>),
    /// Room version 1, which resolves state in another way.
    #[error("the room version's state resolution is not supported")]
    UnsupportedRoomVersion,
    /// An event that was accepted cannot be read, or is no state event where it must be one.
    #[error(transparent)]
    Algorithm(#[from] state_res::Error),
}

/// Resolves the states in `state_sets`, one for each fork, to one.
///
/// `events` looks an event of the room up by its id. It is asked for the events in conflict and
/// their auth chains, for those of the agreed state that decide on them, and, where the chains of
/// the forks differ in an event that is not in conflict itself, for the auth chain of the agreed
/// state. An event that it does not know ends in [`ResolutionError::Missing`]; since one look leads
/// to the next, load the auth chains of what is missing along with it.
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
    // What is missing makes any outcome void, an error too.
    events.complete()?;
    Ok(resolved?)
}

/// The auth chain of `from`: these events, what they claim to be allowed by, and so on up to the
/// room's creation.
///
/// The events themselves are part of it. The specification leaves them out in words; that its
/// difference of auth chains counts them is what all servers do.
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
/// from one of them to another, both ends included.
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

/// The events in memory, and a note of all that was looked up in vain.
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

    /// An error naming what was looked up in vain so far, if anything.
    fn complete(&self) -> Result<(), ResolutionError> {
        let missing = self.missing.take();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(ResolutionError::Missing(missing.into_iter().collect()))
        }
    }
}

/// Walks from `from` along auth events. What `known` holds of is neither entered nor passed.
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

/// Walks from the conflicted events along auth events, then back along the edges that were passed:
/// an event is on a path between two of them if it is reached both ways.
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

/// For each state set, its auth chain without what the chains of all have in common anyway.
///
/// The algorithm takes the union of the chains less their intersection, so that an event left out
/// of all of them changes nothing. Those of the agreed state are in all chains, and most of a large
/// room is agreed upon: its chain is walked only where the difference of the rest depends on it.
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

    /// A topic that cites these events.
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
    fn the_subgraph_is_what_lies_between_conflicted_events() {
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
    fn a_hole_in_an_auth_chain_is_an_error_that_names_all_of_it() {
        let events = graph(&[("tip", &["left", "right", "there"]), ("there", &["deep"])]);
        let fetch = |id: &EventId| events.get(id);
        let Err(ResolutionError::Missing(missing)) = auth_chain([&*id("tip")], fetch) else {
            panic!("the hole went unnoticed");
        };
        assert_eq!(missing, [id("deep"), id("left"), id("right")]);
    }

    /// Each layer cites both events of the one below, so that the number of paths doubles with
    /// every layer: a walk that takes one path after the other never ends.
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
        // All but the other event of the top layer; then also but the other at the bottom.
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

    /// States that agree need no event in memory, however large they are.
    #[test]
    fn states_that_agree_are_not_looked_into() {
        let key = (StateEventType::RoomTopic, String::new());
        let state = StateMap::from([(key, id("topic"))]);
        let nothing = |_: &EventId| None;
        let resolved = resolve(&rules(), &[state.clone(), state.clone()], nothing).unwrap();
        assert_eq!(resolved, state);
        assert!(resolve(&rules(), &[], nothing).unwrap().is_empty());
    }
}
