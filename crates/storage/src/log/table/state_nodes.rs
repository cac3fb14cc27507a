//! New nodes of state trees.

use serde::Serialize;
use stoa_base::StateNid;

use super::{Fit, TableRow};

/// A node of a state tree.
#[derive(Clone, Debug, Serialize)]
pub struct StateNodeRow {
    /// Its internal number.
    pub nid: StateNid,
    /// The node's bytes, in hexadecimal.
    pub node: String,
}

impl TableRow for StateNodeRow {
    const SQLITE: &'static [&'static str] = &["
INSERT INTO state_nodes (nid, node)
SELECT value->>'nid', unhex(value->>'node') FROM json_each($1)"];

    fn check(&self) -> Fit {
        Ok(())
    }

    fn weight(&self) -> usize {
        self.node.len() + 32
    }
}
