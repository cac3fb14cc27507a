//! The state of a forked room: loads what state resolution needs and runs it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId, events::StateEventType, room_version_rules::RoomVersionRules};
use stoa_base::{Allowance, EventNid, StateNid};
use tokio::sync::Semaphore;

use crate::{
    error::{Result, RoomError},
    graph::{
        event::Event,
        events::Events,
        resolution::{ResolutionError, StateMap, resolve},
        state::{EMPTY, NewState, Part, StateKey, States},
    },
};

/// How many events one resolution may load: far more than honest rooms need, far fewer than would
/// exhaust the memory.
const MAX_EVENTS: usize = 500_000;

/// Resolves the states of forks to one state.
#[derive(Clone, Debug)]
pub struct Forks {
    pub(crate) events: Events,
    pub(crate) states: States,
    /// Limits how many resolutions run at once.
    pub(crate) permits: Arc<Semaphore>,
}

impl Forks {
    /// The state after all of these events together. Fails if any of them is missing. `rules` are
    /// those of the room's version.
    pub async fn state_after(
        &self,
        rules: &Arc<RoomVersionRules>,
        event_ids: &[OwnedEventId],
    ) -> Result<StateNid> {
        let events = self.events.by_ids(event_ids.iter().map(|id| &**id)).await?;
        let missing: Vec<OwnedEventId> = event_ids
            .iter()
            .filter(|id| events.get(*id).is_none_or(|event| event.state_after.is_none()))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(RoomError::MissingPrevEvents(missing));
        }
        let roots = events.values().filter_map(|event| event.state_after).collect();
        self.resolve(rules, roots, &mut NewState::default()).await
    }

    /// Resolves several states to one. New state nodes are added to `new`.
    pub(crate) async fn resolve(
        &self,
        rules: &Arc<RoomVersionRules>,
        roots: BTreeSet<StateNid>,
        new: &mut NewState,
    ) -> Result<StateNid> {
        let Some(base) = roots.first().copied() else { return Ok(EMPTY) };
        if roots.len() == 1 {
            return Ok(base);
        }
        // This is not for an answer, so no limit applies.
        let any = Allowance::unlimited();
        let mut known: HashMap<OwnedEventId, Arc<Event>> = HashMap::new();
        let mut keys: HashMap<(StateEventType, String), StateKey> = HashMap::new();
        let mut state_sets = Vec::with_capacity(roots.len());
        for root in &roots {
            let entries = self.states.entries(*root, Part::All, &any).await?;
            state_sets.push(self.state_map(&entries, &mut known, &mut keys).await?);
        }
        let resolved = self.resolve_maps(rules, state_sets, &mut known).await?;

        // The new state shares with the first one everything that did not change.
        let mut state = base;
        let before = self.states.entries(state, Part::All, &any).await?;
        let mut after: BTreeMap<StateKey, EventNid> = BTreeMap::new();
        for (entry, id) in &resolved {
            let key =
                keys.get(entry).copied().unwrap_or_else(|| StateKey::typed(&entry.0, &entry.1));
            if let Some(event) = known.get(id) {
                after.insert(key, event.nid);
            }
        }
        for key in before.keys().filter(|key| !after.contains_key(key)) {
            state = self.states.set(state, *key, None, new).await?;
        }
        for (key, event) in after {
            if before.get(&key) != Some(&event) {
                state = self.states.set(state, key, Some(event), new).await?;
            }
        }
        Ok(state)
    }

    async fn state_map(
        &self,
        entries: &BTreeMap<StateKey, EventNid>,
        known: &mut HashMap<OwnedEventId, Arc<Event>>,
        keys: &mut HashMap<(StateEventType, String), StateKey>,
    ) -> Result<StateMap> {
        let events = self.events.get_many(entries.values().copied()).await?;
        let mut map = StateMap::new();
        for (key, nid) in entries {
            let Some(event) = events.get(nid) else { continue };
            let kind = StateEventType::from(event.pdu.event_type.to_string());
            let entry = (kind, event.pdu.state_key.clone().unwrap_or_default());
            keys.insert(entry.clone(), *key);
            map.insert(entry, event.pdu.event_id.clone());
            known.insert(event.pdu.event_id.clone(), Arc::clone(event));
        }
        Ok(map)
    }

    /// Resolves, loading what is missing and trying again until nothing is.
    async fn resolve_maps(
        &self,
        rules: &Arc<RoomVersionRules>,
        state_sets: Vec<StateMap>,
        known: &mut HashMap<OwnedEventId, Arc<Event>>,
    ) -> Result<StateMap> {
        let state_sets = Arc::new(state_sets);
        loop {
            let rules = Arc::clone(rules);
            let sets = Arc::clone(&state_sets);
            let events = known.clone();
            // This is heavy for a large room, so it does not run on the threads that answer
            // requests.
            let _permit = self.permits.acquire().await;
            let outcome = tokio::task::spawn_blocking(move || {
                resolve(&rules, &sets, |id| events.get(id).map(|event| &*event.pdu))
            })
            .await
            .map_err(|error| RoomError::Storage(stoa_storage::Error::corrupt(error)))?;
            match outcome {
                Ok(resolved) => return Ok(resolved),
                Err(ResolutionError::Missing(ids)) => {
                    let before = known.len();
                    self.load_auth_chain(ids.clone(), known).await?;
                    if known.len() == before || known.len() > MAX_EVENTS {
                        return Err(ResolutionError::Missing(ids).into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Loads these events and their auth chains, level by level.
    async fn load_auth_chain(
        &self,
        ids: Vec<OwnedEventId>,
        known: &mut HashMap<OwnedEventId, Arc<Event>>,
    ) -> Result<()> {
        let mut asked: HashSet<OwnedEventId> = HashSet::new();
        let mut open = ids;
        while !open.is_empty() && known.len() <= MAX_EVENTS {
            asked.extend(open.iter().cloned());
            let ids: Vec<&EventId> = open.iter().map(|id| &**id).collect();
            let found = self.events.by_ids(ids).await?;
            open = found
                .values()
                .flat_map(|event| &event.pdu.auth_events)
                .filter(|id| !known.contains_key(*id) && !asked.contains(*id))
                .cloned()
                .collect::<HashSet<_>>()
                .into_iter()
                .collect();
            known.extend(found);
        }
        Ok(())
    }
}
