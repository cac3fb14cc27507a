//! Account data.

use serde::Serialize;
use stoa_base::RoomNid;

use super::{Fit, RelPos, TableRow, check, merge};

/// A piece of account data.
#[derive(Clone, Debug, Serialize)]
pub struct AccountDataRow {
    /// The user's Matrix ID.
    pub user_id: String,
    /// The room; zero for global account data.
    pub room_nid: RoomNid,
    /// The type of the account data.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its content, as JSON.
    pub content: String,
    /// The position at which it was set.
    pub pos: RelPos,
}

impl TableRow for AccountDataRow {
    const SQLITE: &'static [&'static str] = &[
        "
INSERT INTO account_data (user_id, room_nid, type, content, pos)
SELECT value->>'user_id', value->>'room_nid', value->>'type', value->>'content',
    $2 + (value->>'pos')
FROM json_each($1) WHERE true
ON CONFLICT (user_id, room_nid, type) DO UPDATE SET content = excluded.content, pos = excluded.pos",
    ];

    fn check(&self) -> Fit {
        check::identifiers([&self.user_id, &self.kind])?;
        check::texts([&self.content])
    }

    fn weight(&self) -> usize {
        self.content.len() + 128
    }

    fn shift(&mut self, by: i64) {
        self.pos.0 += by;
    }

    fn merge(rows: Vec<Self>) -> Vec<Self> {
        merge::last_of_each(rows, |row| (row.user_id.clone(), row.room_nid, row.kind.clone()))
    }
}
