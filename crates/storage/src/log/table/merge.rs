//! Merges the rows of one batch that would change the same database row.

use std::{collections::HashMap, hash::Hash};

/// Drops the rows that a later one with the same key overwrites.
pub(super) fn last_of_each<T, K: Hash + Eq>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    merged(rows, key, |earlier, later| *earlier = later)
}

/// Merges all rows with the same key into the first of them.
pub(super) fn merged<T, K: Hash + Eq>(
    rows: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
    merge: impl Fn(&mut T, T),
) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    for row in rows {
        let place = *places.entry(key(&row)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(earlier) => merge(earlier, row),
            None => kept.push(row),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_a_key_stays() {
        let rows = last_of_each([(1, 'a'), (2, 'b'), (1, 'c')], |row| row.0);
        assert_eq!(rows, [(1, 'c'), (2, 'b')]);
    }
}
