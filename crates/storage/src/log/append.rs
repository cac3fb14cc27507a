//! One caller's change, as a value.

use std::sync::Arc;

use super::{
    Append, Chain, Guard, Topic,
    claim::Claim,
    rel_pos::RelPos,
    table::{Fit, TABLES, identifiers},
};

impl Append {
    /// An empty append.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next position of this append.
    pub fn next_pos(&mut self) -> RelPos {
        self.positions += 1;
        RelPos(self.positions)
    }

    /// How many positions the append takes: at least one, so that each batch moves the head.
    pub(super) fn positions(&self) -> i64 {
        self.positions.max(1)
    }

    /// The chains that the append belongs to.
    pub(super) fn chains(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.guards.iter().filter_map(Guard::chain)
    }

    /// What no other append in the same batch may concern.
    pub(super) fn claims(&self) -> Vec<Claim<'_>> {
        let mut claims = Vec::new();
        claims.extend(self.guards.iter().filter_map(Guard::claim));
        for table in TABLES {
            (table.claims)(self, &mut claims);
        }
        claims
    }

    /// Refuses what one of the databases cannot store, before the append shares a batch with
    /// others.
    pub(super) fn check(&self) -> Fit {
        identifiers(self.guards.iter().filter_map(Guard::identifier))?;
        identifiers(self.touched.iter().filter_map(|(_, topic)| match topic {
            Topic::User(user_id) => Some(user_id),
            Topic::Room(_) => None,
        }))?;
        TABLES.iter().try_for_each(|table| (table.check)(self))
    }

    /// A rough size in bytes, for the limits on a batch.
    pub(super) fn weight(&self) -> usize {
        let rows: usize = TABLES.iter().map(|table| (table.weight)(self)).sum();
        let names = self.guards.len() + self.touched.iter().count();
        256 + rows + 64 * names + 576 * self.audit.len()
    }
}
