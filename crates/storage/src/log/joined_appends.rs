//! Joins the appends that wait together into one batch. Positions are shifted to their place in the
//! batch, and rows that would change the same database row are merged.

use super::{
    Append, AuditRow, Touched, guard,
    rows::Rows,
    table::{Placed, TABLES},
};

/// The rows of a batch, table by table, and the rest of the batch.
#[derive(Debug, Default)]
pub(super) struct JoinedAppends {
    /// How many positions the batch takes.
    pub(super) positions: i64,
    /// Where each append's positions start, relative to the head.
    pub(super) bases: Vec<i64>,
    pub(super) touched: Touched,
    /// The guards, by kind.
    pub(super) guards: Vec<Rows>,
    /// The rows of the tables that the batch changes.
    pub(super) tables: Vec<Rows>,
    /// The audit entries, as stored.
    pub(super) audit: Vec<String>,
}

impl JoinedAppends {
    /// Joins the appends' rows, in order.
    pub(super) fn new(appends: &[&Append]) -> serde_json::Result<Self> {
        let mut batch = Self { guards: guard::of_batch(appends)?, ..Self::default() };
        let mut placed = Vec::with_capacity(appends.len());
        for append in appends {
            placed.push(Placed { append, base: batch.positions });
            batch.bases.push(batch.positions);
            batch.positions += append.positions();
            batch.touched.extend(&append.touched);
        }
        for table in TABLES {
            batch.tables.extend((table.join)(&placed)?);
        }
        let entries = appends.iter().flat_map(|append| &append.audit).map(AuditRow::to_entry);
        batch.audit = entries.collect::<Result<_, _>>()?;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_get_consecutive_positions_and_an_empty_one_takes_one() {
        let mut first = Append::new();
        first.next_pos();
        first.next_pos();
        let (second, third) = (Append::new(), Append::new());
        let batch = JoinedAppends::new(&[&first, &second, &third]).unwrap();
        assert_eq!(batch.bases, [0, 2, 3]);
        assert_eq!(batch.positions, 4);
    }
}
