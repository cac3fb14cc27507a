//! Changes to rooms' own rows: extremities, current state, member counts.

use serde::Serialize;
use stoa_base::{EventNid, RoomNid, StateNid};

use super::{Fit, RelPos, TableRow, merge};

/// The change that an append makes to a room's own row.
#[derive(Clone, Debug, Serialize)]
pub struct RoomUpdateRow {
    /// The room's internal number.
    pub room_nid: RoomNid,
    /// Events that become forward extremities.
    pub added: Vec<EventNid>,
    /// Events that are no longer forward extremities.
    pub consumed: Vec<EventNid>,
    /// The new current state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_root: Option<StateNid>,
    /// The position at which the current state changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_pos: Option<RelPos>,
    /// The position at which the extremities changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_pos: Option<RelPos>,
    /// By how much the number of joined members changes.
    pub joined: i64,
    /// By how much the number of invited members changes.
    pub invited: i64,
}

impl TableRow for RoomUpdateRow {
    const SQLITE: &'static [&'static str] = &["
UPDATE rooms SET
    extremities = (
        SELECT json_group_array(x ORDER BY x) FROM (
            SELECT value AS x FROM json_each(rooms.extremities)
            UNION
            SELECT value FROM json_each(u.value, '$.added'))
        WHERE x NOT IN (SELECT value FROM json_each(u.value, '$.consumed'))),
    state_root = coalesce(u.value->>'state_root', rooms.state_root),
    state_pos = coalesce($2 + (u.value->>'state_pos'), rooms.state_pos),
    head_pos = coalesce($2 + (u.value->>'head_pos'), rooms.head_pos),
    joined = rooms.joined + (u.value->>'joined'),
    invited = rooms.invited + (u.value->>'invited')
FROM json_each($1) AS u
WHERE rooms.nid = u.value->>'room_nid'"];

    fn check(&self) -> Fit {
        Ok(())
    }

    fn weight(&self) -> usize {
        192 + 16 * (self.added.len() + self.consumed.len())
    }

    fn shift(&mut self, by: i64) {
        for pos in self.state_pos.iter_mut().chain(&mut self.head_pos) {
            pos.0 += by;
        }
    }

    fn merge(rows: Vec<Self>) -> Vec<Self> {
        merge::merged(rows, |row| row.room_nid, merge_room_update)
    }
}

fn merge_room_update(earlier: &mut RoomUpdateRow, mut later: RoomUpdateRow) {
    earlier.added.retain(|event| !later.consumed.contains(event));
    earlier.added.append(&mut later.added);
    earlier.consumed.append(&mut later.consumed);
    earlier.state_root = later.state_root.or(earlier.state_root);
    earlier.state_pos = later.state_pos.or(earlier.state_pos);
    earlier.head_pos = later.head_pos.or(earlier.head_pos);
    earlier.joined += later.joined;
    earlier.invited += later.invited;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Append, table::Placed};

    fn update(added: i64, consumed: i64, head: i64) -> RoomUpdateRow {
        RoomUpdateRow {
            room_nid: RoomNid(7),
            added: vec![EventNid(added)],
            consumed: vec![EventNid(consumed)],
            state_root: (added == 2).then_some(StateNid(70)),
            state_pos: None,
            head_pos: Some(RelPos(head)),
            joined: 1,
            invited: -1,
        }
    }

    #[test]
    fn updates_of_one_room_become_one() {
        let mut appends = Vec::new();
        for row in [update(1, 0, 1), update(2, 1, 1), update(3, 2, 1)] {
            appends.push(Append { room_updates: vec![row], ..Append::default() });
        }
        let placed: Vec<_> =
            appends.iter().zip(0..).map(|(append, base)| Placed { append, base }).collect();
        let rows = RoomUpdateRow::of_batch(&placed);
        let [row] = rows.as_slice() else { panic!("one row") };
        assert_eq!(row.added, [EventNid(3)]);
        assert_eq!(row.consumed, [EventNid(0), EventNid(1), EventNid(2)]);
        assert_eq!(row.state_root, Some(StateNid(70)));
        assert_eq!(row.head_pos, Some(RelPos(3)));
        assert_eq!((row.joined, row.invited), (3, -3));
    }
}
