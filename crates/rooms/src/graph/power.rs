//! Power levels: who can do what in a room.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use ruma::{
    OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};
use stoa_base::StateNid;

use crate::{
    error::{Result, RoomError},
    graph::{pdu::Pdu, state_events::StateEvents},
};

/// The power levels of a room in some state.
pub struct Power {
    rules: Arc<RoomVersionRules>,
    creators: HashSet<OwnedUserId>,
    levels: Option<RoomPowerLevelsEvent<Pdu>>,
}

impl StateEvents {
    /// The power levels of a room in `state`. `rules` are those of the room's version.
    pub async fn power(&self, rules: &Arc<RoomVersionRules>, state: StateNid) -> Result<Power> {
        let wanted = vec![
            (StateEventType::RoomCreate, String::new()),
            (StateEventType::RoomPowerLevels, String::new()),
        ];
        let auth = self.auth_events(rules, state, wanted).await?;
        let create = auth
            .get(&StateEventType::RoomCreate, "")
            .ok_or_else(|| stoa_storage::Error::corrupt("a room has no create event"))?;
        let creators = RoomCreateEvent::new(create)
            .creators(&rules.authorization)
            .map_err(RoomError::Forbidden)?;
        let levels = auth.get(&StateEventType::RoomPowerLevels, "").cloned();
        Ok(Power {
            rules: Arc::clone(rules),
            creators,
            levels: levels.map(RoomPowerLevelsEvent::new),
        })
    }
}

impl Power {
    /// The level of a user. The creators of a room of version 12 or later are above all levels.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>
    pub fn of(&self, user_id: &UserId) -> Result<i64> {
        let rules = &self.rules.authorization;
        let is_creator = self.creators.contains(user_id);
        if is_creator && rules.explicitly_privilege_room_creators {
            return Ok(i64::MAX);
        }
        match &self.levels {
            Some(levels) => {
                levels.user_power_level(user_id, rules).map(i64::from).map_err(RoomError::Forbidden)
            }
            None => Ok(if is_creator { 100 } else { 0 }),
        }
    }

    /// The users with a level of their own: the creators, and those in the power levels event.
    pub fn named(&self) -> Result<BTreeSet<OwnedUserId>> {
        let mut named: BTreeSet<OwnedUserId> = self.creators.iter().cloned().collect();
        if let Some(levels) = &self.levels {
            let users = levels.users(&self.rules.authorization).map_err(RoomError::Forbidden)?;
            named.extend(users.into_iter().flat_map(|users| users.keys().cloned()));
        }
        Ok(named)
    }

    /// The level of everybody without a level of their own.
    pub fn of_unnamed(&self) -> Result<i64> {
        if self.levels.is_none() {
            Ok(0)
        } else {
            self.needed(RoomPowerLevelsIntField::UsersDefault)
        }
    }

    /// The level that an action requires.
    pub fn needed(&self, action: RoomPowerLevelsIntField) -> Result<i64> {
        let default = || action.default_value();
        let level = match &self.levels {
            Some(levels) => levels
                .get_as_int_or_default(action, &self.rules.authorization)
                .map_err(RoomError::Forbidden)?,
            None => default(),
        };
        Ok(i64::from(level))
    }

    /// The level that sending an event requires.
    pub fn needed_to_send(&self, kind: &TimelineEventType, state_key: Option<&str>) -> Result<i64> {
        match &self.levels {
            Some(levels) => levels
                .event_power_level(kind, state_key, &self.rules.authorization)
                .map(i64::from)
                .map_err(RoomError::Forbidden),
            None => Ok(if state_key.is_some() { 50 } else { 0 }),
        }
    }
}
