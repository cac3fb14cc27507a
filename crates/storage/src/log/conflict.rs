//! What the database reports as standing in the way of a batch.
//!
//! The rules are in SQL, once for each database. Those for guards are in `guard.rs` and in the
//! function `broken_guards`; those for rooms and events that must be new are in the tables' `TAKEN`
//! and in the function `taken`. Appends that stand in each other's way are never in one batch
//! ([`super::claims`]).

use serde::Deserialize;
use stoa_base::Nid;

use super::{Append, AppendError, stored::from_name};
use crate::{Error, Result};

/// An append that the database refuses to write.
#[derive(Debug, Deserialize)]
pub(super) struct Conflict {
    /// The append, by its index in the batch.
    #[serde(rename = "member")]
    place: Option<usize>,
    /// The append, by a room or event that it contains.
    nid: Option<Nid>,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// The room has moved, or already exists.
    Room,
    /// The event already exists.
    Event,
    /// The session has ended.
    Session,
    /// The account is not in the expected state.
    Account,
    /// The internal number is taken by something else.
    Nid,
}

impl Conflict {
    /// Reads the conflict of the append at an index in the batch.
    pub(super) fn at_place(place: i64, reason: &str) -> Result<Self> {
        let place = usize::try_from(place).map_err(Error::answer)?;
        Ok(Self {
            place: Some(place),
            nid: None,
            reason: from_name(reason).map_err(Error::answer)?,
        })
    }

    /// Reads the conflict of the append that contains the room or event `nid`.
    pub(super) fn of_nid(nid: Nid, reason: &str) -> Result<Self> {
        Ok(Self { place: None, nid: Some(nid), reason: from_name(reason).map_err(Error::answer)? })
    }

    /// Whether the conflict concerns the append at `place`.
    pub(super) fn concerns(&self, place: usize, append: &Append) -> bool {
        let holds = |nid: Nid| {
            append.events.iter().any(|row| row.nid.0 == nid)
                || append.rooms.iter().any(|row| row.nid.0 == nid)
        };
        self.place == Some(place) || self.nid.is_some_and(holds)
    }

    /// The error for the append's caller.
    pub(super) fn to_error(&self) -> AppendError {
        match self.reason {
            Reason::Room | Reason::Nid => AppendError::Conflict,
            Reason::Event => AppendError::Duplicate,
            Reason::Session => AppendError::SessionEnded,
            Reason::Account => AppendError::AccountChanged,
        }
    }
}
