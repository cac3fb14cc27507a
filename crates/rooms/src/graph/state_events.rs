//! Finds the events of states.

use std::sync::Arc;

use ruma::events::StateEventType;
use stoa_base::StateNid;

use crate::{
    error::Result,
    graph::{
        event::Event,
        events::Events,
        state::{StateKey, States},
    },
};

/// Finds the events of states, without visibility checks.
#[derive(Clone, Debug)]
pub struct StateEvents {
    pub(crate) events: Events,
    pub(crate) states: States,
}

impl StateEvents {
    /// The event of one entry of a state, without a visibility check.
    pub async fn unchecked_entry(
        &self,
        state: StateNid,
        kind: &StateEventType,
        state_key: &str,
    ) -> Result<Option<Arc<Event>>> {
        self.entry(state, StateKey::typed(kind, state_key)).await
    }

    /// The event of one entry of a state.
    pub(crate) async fn entry(&self, state: StateNid, key: StateKey) -> Result<Option<Arc<Event>>> {
        match self.states.get(state, key).await? {
            Some(nid) => Ok(Some(self.events.get(nid).await?)),
            None => Ok(None),
        }
    }
}
