//! Limits how many rooms a user can be in.

use std::sync::Arc;

use ruma::UserId;

use crate::{
    cache::{
        memberships::{Membership, MembershipCache},
        room::Room,
    },
    error::{Result, RoomError},
};

/// The limit on the number of rooms that a user can be in.
#[derive(Clone, Debug)]
pub(crate) struct JoinLimit {
    pub(crate) memberships: Arc<MembershipCache>,
    pub(crate) rooms: usize,
}

impl JoinLimit {
    /// Refuses a user who has reached the limit, unless they are already in `room`.
    pub(crate) async fn check(&self, user_id: &UserId, room: Option<&Room>) -> Result<()> {
        let limit = self.rooms;
        let memberships = self.memberships.of(user_id).await?;
        let is_joined = |membership: &Membership| membership.is_joined();
        if room.and_then(|room| memberships.get(&room.nid)).is_some_and(is_joined) {
            return Ok(());
        }
        if memberships.values().filter(|membership| is_joined(membership)).count() < limit {
            return Ok(());
        }
        let why = format!("You are in {limit} rooms, which is the limit on this server");
        Err(RoomError::forbidden(why))
    }
}
