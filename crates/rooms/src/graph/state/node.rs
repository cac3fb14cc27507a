//! A node of a state tree. It is kept in memory in the form in which it is stored.

use std::fmt::Write as _;

use stoa_base::{EventNid, Nid, StateNid};
use stoa_storage::{Error, Result};

use super::StateKey;

/// Marks the tag of a subtree. The rest of a tag is the digit.
const SUBTREE: u8 = 0x10;

/// One node: for each digit at most one entry or one subtree, in the order of digits.
///
/// It consists of the bytes that are stored. Each slot has a tag, followed by the key and event of
/// an entry or the number of a subtree. So many nodes are in memory that their size matters, and
/// each has so few slots that scanning them is quick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node(Box<[u8]>);

/// The content of the slot for a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Entry(StateKey, EventNid),
    Subtree(StateNid),
}

impl Node {
    /// A node with these slots, which must be in the order of their digits.
    pub(super) fn new(slots: impl IntoIterator<Item = (u8, Slot)>) -> Self {
        let mut bytes = Vec::with_capacity(128);
        for (digit, slot) in slots {
            match slot {
                Slot::Entry(key, event) => {
                    bytes.push(digit);
                    bytes.extend(key.0.to_be_bytes());
                    bytes.extend(event.0.to_be_bytes());
                }
                Slot::Subtree(node) => {
                    bytes.push(digit | SUBTREE);
                    bytes.extend(node.0.to_be_bytes());
                }
            }
        }
        Self(bytes.into_boxed_slice())
    }

    /// Reads the stored form. Fails if it is cut short.
    pub(super) fn decode(bytes: Vec<u8>) -> Result<Self> {
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let Some((_, after)) = next_slot(rest) else {
                return Err(Error::corrupt("a state node is cut short"));
            };
            rest = after;
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// The stored form, in hexadecimal.
    pub(super) fn encode(&self) -> String {
        let mut hex = String::with_capacity(2 * self.0.len());
        for byte in &self.0 {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All slots, each with its digit.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u8, Slot)> + '_ {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (slot, after) = next_slot(rest)?;
            rest = after;
            Some(slot)
        })
    }

    /// The slot for `digit`.
    pub(super) fn get(&self, digit: u8) -> Option<Slot> {
        self.slots().find(|(at, _)| *at == digit).map(|(_, slot)| slot)
    }

    /// A copy of the node with the slot for `digit` set, or removed.
    #[must_use]
    pub(super) fn with(&self, digit: u8, slot: Option<Slot>) -> Self {
        let before = self.slots().take_while(|(at, _)| *at < digit);
        let after = self.slots().skip_while(|(at, _)| *at <= digit);
        Self::new(before.chain(slot.map(|slot| (digit, slot))).chain(after))
    }

    /// How many bytes the node takes in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        64 + self.0.len()
    }
}

/// Splits off the first slot of some bytes. None if they are cut short.
fn next_slot(bytes: &[u8]) -> Option<((u8, Slot), &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let digit = tag & !SUBTREE;
    if tag & SUBTREE == 0 {
        let (key, rest) = rest.split_first_chunk()?;
        let (event, rest) = rest.split_first_chunk()?;
        let event = EventNid(Nid::from_be_bytes(*event));
        Some(((digit, Slot::Entry(StateKey(u128::from_be_bytes(*key)), event)), rest))
    } else {
        let (node, rest) = rest.split_first_chunk()?;
        Some(((digit, Slot::Subtree(StateNid(Nid::from_be_bytes(*node)))), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i64) -> Slot {
        Slot::Entry(StateKey::new("type", &number.to_string()), EventNid(number))
    }

    #[test]
    fn slots_can_be_set_removed_and_replaced() {
        let node =
            Node::default().with(9, Some(entry(1))).with(2, Some(Slot::Subtree(StateNid(7))));
        let node = node.with(15, Some(entry(3))).with(9, Some(entry(2)));
        let slots: Vec<_> = node.slots().collect();
        assert_eq!(slots, [(2, Slot::Subtree(StateNid(7))), (9, entry(2)), (15, entry(3))]);
        assert_eq!(node.get(9), Some(entry(2)));
        assert_eq!(node.get(3), None);
        let without = node.with(2, None).with(9, None).with(15, None).with(4, None);
        assert!(without.is_empty());
    }

    #[test]
    fn a_stored_node_is_read_back_unchanged() {
        let node = Node::new([(0, entry(-1)), (15, Slot::Subtree(StateNid(i64::MAX)))]);
        let hex = node.encode();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let bytes: Vec<u8> = bytes.map(Result::unwrap).collect();
        assert_eq!(Node::decode(bytes.clone()).unwrap(), node);
        assert!(Node::decode(bytes[..bytes.len() - 1].to_vec()).is_err());
    }
}
