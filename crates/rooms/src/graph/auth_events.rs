//! Selects the auth events of an event from a state, and checks the event against them.

use std::{collections::HashMap, sync::Arc};

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::RoomVersionRules,
    state_res::{
        auth_types_for_event, check_state_dependent_auth_rules, check_state_independent_auth_rules,
    },
};
use stoa_base::StateNid;

use crate::{
    error::Result,
    graph::{
        event::Event, events::not_there, pdu::Pdu, state::StateKey, state_events::StateEvents,
    },
};

impl StateEvents {
    /// The events of these entries of a state, and the room's create event.
    pub(crate) async fn auth_events(
        &self,
        rules: &RoomVersionRules,
        state: StateNid,
        mut wanted: Vec<(StateEventType, String)>,
    ) -> Result<AuthEvents> {
        // From room version 12 on, the create event counts without being in `auth_events`.
        let create = (StateEventType::RoomCreate, String::new());
        let names_create = wanted.contains(&create);
        if !names_create {
            wanted.push(create.clone());
        }
        let keys: Vec<(StateNid, StateKey)> =
            wanted.iter().map(|(kind, key)| (state, StateKey::typed(kind, key))).collect();
        let nids = self.states.get_many(&keys).await?;
        let events = self.events.get_many(nids.values().copied()).await?;
        let mut auth = AuthEvents {
            names_create: names_create && rules.event_format.allow_room_create_in_auth_events,
            by_key: HashMap::new(),
        };
        for (entry, key) in wanted.into_iter().zip(keys) {
            let Some(nid) = nids.get(&key) else { continue };
            // An event that is not stored yet may have been evicted from memory. Nothing is decided
            // without it.
            let event = events.get(nid).ok_or_else(|| not_there(*nid))?;
            auth.by_key.insert(entry, Arc::clone(event));
        }
        Ok(auth)
    }

    /// Whether a state allows an event. The inner error gives the reason if not.
    pub(crate) async fn allow(
        &self,
        rules: &RoomVersionRules,
        state: StateNid,
        pdu: &Pdu,
    ) -> Result<Result<(), String>> {
        let wanted = auth_types_for_event(
            &pdu.event_type,
            &pdu.sender,
            pdu.state_key.as_deref(),
            &pdu.content,
            &rules.authorization,
        );
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(why) => return Ok(Err(why)),
        };
        let auth = self.auth_events(rules, state, wanted).await?;
        let by_state = |kind: &StateEventType, key: &str| auth.get(kind, key);
        Ok(check_state_dependent_auth_rules(&rules.authorization, pdu, by_state))
    }
}

/// The events of a state that decide whether another event is allowed.
#[derive(Debug)]
pub(crate) struct AuthEvents {
    /// Whether the event's `auth_events` include the room's create event.
    names_create: bool,
    by_key: HashMap<(StateEventType, String), Arc<Event>>,
}

impl AuthEvents {
    /// The IDs for the event's `auth_events`.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.by_key
            .iter()
            .filter(|((kind, _), _)| self.names_create || *kind != StateEventType::RoomCreate)
            .map(|(_, event)| &event.pdu.event_id)
    }

    pub(crate) fn get(&self, kind: &StateEventType, key: &str) -> Option<&Pdu> {
        self.by_key.get(&(kind.clone(), key.to_owned())).map(|event| &*event.pdu)
    }

    fn by_id(&self, id: &EventId) -> Option<&Pdu> {
        self.by_key.values().map(|event| &*event.pdu).find(|pdu| pdu.event_id == id)
    }

    /// Checks an event that was built here against the state that it was built on. The error says
    /// why it is not allowed.
    pub(crate) fn allow(&self, rules: &RoomVersionRules, pdu: &Pdu) -> Result<(), String> {
        let rules = &rules.authorization;
        check_state_independent_auth_rules(rules, pdu, |id| self.by_id(id))?;
        check_state_dependent_auth_rules(rules, pdu, |kind, key| self.get(kind, key))
    }
}
