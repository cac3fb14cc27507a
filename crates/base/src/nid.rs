//! Internal identifiers: 64-bit numbers that stand for the text identifiers of Matrix inside the
//! database, and positions in the log.

use serde::{Deserialize, Serialize};

/// An internal number drawn from the deployment's one counter of such numbers.
///
/// A number says nothing about order or age: each node draws them in blocks.
pub type Nid = i64;

macro_rules! nid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Nid);

        impl From<$name> for Nid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

nid! {
    /// A room.
    RoomNid
}
nid! {
    /// An event.
    EventNid
}
nid! {
    /// A node of a state tree. The root's number stands for the whole state.
    StateNid
}
nid! {
    /// A position in the log. Zero is before the first append.
    #[derive(Default)]
    Pos
}

impl Pos {
    /// The position before every append.
    pub const START: Self = Self(0);
}

impl std::fmt::Display for Pos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
