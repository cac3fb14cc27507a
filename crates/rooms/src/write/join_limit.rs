//! In how many rooms a user may be.

use std::sync::Arc;

use ruma::UserId;

use crate::{
    cache::{
        memberships::{Membership, MembershipCache},
        room::Room,
    },
    error::{Result, RoomError},
};

/// The number of rooms that a user may be in.
#[derive(Clone, Debug)]
pub(crate) struct JoinLimit {
    pub(crate) memberships: Arc<MembershipCache>,
    pub(crate) rooms: usize,
}

impl JoinLimit {
    /// Refuses a user who is in as many rooms as one may be, unless `room` is one of them.
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
        let why = format!("You are in {limit} rooms, and nobody may be in more here");
        Err(RoomError::forbidden(why))
    }
}
