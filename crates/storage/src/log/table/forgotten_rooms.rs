//! Rooms that users forget. Forgetting marks a membership, which must be written before it.

use serde::Serialize;
use stoa_base::RoomNid;

use super::{Fit, Placed, TableRow, check};

/// A room that a user forgets.
#[derive(Clone, Debug, Serialize)]
pub struct ForgottenRoomRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The room's internal number.
    pub room_nid: RoomNid,
}

impl TableRow for ForgottenRoomRow {
    const SQLITE: &'static [&'static str] = &["
UPDATE memberships SET forgotten = 1
FROM json_each($1) AS f
WHERE memberships.user_id = f.value->>'user_id' AND memberships.room_nid = f.value->>'room_nid'
    AND memberships.membership IN ('leave', 'ban')"];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id])
    }

    /// Leaves out rooms that a later append enters again. Memberships are written first, and a new
    /// one must not be forgotten.
    fn of_batch(appends: &[Placed<'_>]) -> Vec<Self> {
        let mut forgotten = Vec::new();
        for Placed { append, .. } in appends {
            for entered in &append.memberships {
                forgotten.retain(|row: &Self| {
                    (&row.user_id, row.room_nid) != (&entered.user_id, entered.room_nid)
                });
            }
            forgotten.extend_from_slice(&append.forgotten_rooms);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use stoa_base::EventNid;

    use super::*;
    use crate::log::{Append, MembershipRow, RelPos};

    #[test]
    fn who_enters_a_room_after_forgetting_it_has_not_forgotten_it() {
        let user_id = "@a:example.org".to_owned();
        let forgotten = ForgottenRoomRow { user_id: user_id.clone(), room_nid: RoomNid(7) };
        let entered = MembershipRow {
            user_id: user_id.clone(),
            room_nid: RoomNid(7),
            membership: "join".to_owned(),
            event_nid: EventNid(1),
            sender: user_id,
            pos: RelPos(1),
        };
        let forgets = Append { forgotten_rooms: vec![forgotten], ..Append::default() };
        let enters = Append { memberships: vec![entered], ..Append::default() };
        let left = |appends: [&Append; 2]| {
            ForgottenRoomRow::of_batch(&appends.map(|append| Placed { append, base: 0 })).len()
        };
        assert_eq!(left([&forgets, &enters]), 0);
        assert_eq!(left([&enters, &forgets]), 1);
    }
}
