//! Which appends may be written in one batch.
//!
//! The database judges a batch as a whole: it checks what each append relies on before it writes
//! any of them, and cannot see what they do to one another. So two appends that concern the same
//! thing are not written in one batch. The later one waits for the next batch, and the database
//! judges it there by what the earlier one has written.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use stoa_base::RoomNid;

use super::{Append, Chain, Guard};

/// Which appends of a batch have moved a room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mover {
    /// Only appends of this chain.
    Chain(*const Chain),
    /// Appends of several chains, or one without a chain.
    Several,
}

/// What the appends of a batch concern.
#[derive(Default)]
pub(super) struct Claims {
    hasher: RandomState,
    /// Hashes of claims. If two different claims collide, a batch ends early, which does no harm.
    claimed: HashSet<u64>,
    moved: HashMap<RoomNid, Mover>,
}

impl Claims {
    /// Adds an append if it can be written in the same batch as those before it. Returns whether it
    /// was added.
    pub(super) fn admit(&mut self, append: &Append) -> bool {
        let claims = append.claims();
        let hashes: Vec<u64> = claims.iter().map(|claim| self.hasher.hash_one(claim)).collect();
        let is_claimed = hashes.iter().any(|hash| self.claimed.contains(hash));
        if is_claimed || self.has_moved(&append.guards) {
            return false;
        }
        self.claimed.extend(hashes);
        self.note_moves(append);
        true
    }

    /// Whether a room that these guards watch was moved by anything other than the same chain.
    fn has_moved(&self, guards: &[Guard]) -> bool {
        guards.iter().filter_map(Guard::chain).any(|chain| {
            let mover = self.moved.get(&chain.room());
            mover.is_some_and(|mover| *mover != Mover::Chain(Arc::as_ptr(chain)))
        })
    }

    fn note_moves(&mut self, append: &Append) {
        for update in &append.room_updates {
            let chain = append.chains().find(|chain| chain.room() == update.room_nid);
            let mover = chain.map_or(Mover::Several, |chain| Mover::Chain(Arc::as_ptr(chain)));
            let moved = self.moved.entry(update.room_nid).or_insert(mover);
            if *moved != mover {
                *moved = Mover::Several;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stoa_base::Pos;

    use super::*;
    use crate::log::{AccountState, RelPos, RoomRow, RoomUpdateRow};

    const ROOM: RoomNid = RoomNid(7);

    fn chain() -> Arc<Chain> {
        Arc::new(Chain::new(ROOM, Pos(1), Pos(1)))
    }

    fn moving(guard: Option<Guard>) -> Append {
        let update = RoomUpdateRow {
            room_nid: ROOM,
            added: Vec::new(),
            consumed: Vec::new(),
            state_root: None,
            state_pos: None,
            head_pos: Some(RelPos(1)),
            joined: 0,
            invited: 0,
        };
        Append { guards: guard.into_iter().collect(), room_updates: vec![update], ..Append::new() }
    }

    fn relying_on(guard: Guard) -> Append {
        Append { guards: vec![guard], ..Append::new() }
    }

    #[test]
    fn appends_on_one_chain_share_a_batch_and_others_wait() {
        let (one, other) = (chain(), chain());
        let mut claims = Claims::default();
        assert!(claims.admit(&moving(Some(Guard::State(Arc::clone(&one))))));
        assert!(claims.admit(&moving(Some(Guard::Head(Arc::clone(&one))))));
        assert!(!claims.admit(&moving(Some(Guard::State(Arc::clone(&other))))));
        assert!(!claims.admit(&relying_on(Guard::Head(other))));
        // An append without guards can move the room, and then no chain knows the room's position.
        assert!(claims.admit(&moving(None)));
        assert!(!claims.admit(&relying_on(Guard::State(one))));
    }

    #[test]
    fn no_two_appends_in_a_batch_share_an_account_or_a_new_room() {
        let mut claims = Claims::default();
        let account = || Guard::Account("@a:test".to_owned(), AccountState::Open);
        let room = |nid| {
            let (room_id, version) = ("!a:test".to_owned(), "12".to_owned());
            Append {
                rooms: vec![RoomRow { nid: RoomNid(nid), room_id, version, created_ms: 1 }],
                ..Append::new()
            }
        };
        assert!(claims.admit(&relying_on(account())));
        assert!(!claims.admit(&relying_on(account())));
        assert!(claims.admit(&room(8)));
        assert!(!claims.admit(&room(9)));
    }
}
