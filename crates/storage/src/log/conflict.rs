//! What the database says stands in the way of a batch.
//!
//! The rules stand in SQL, once for each database: those of guards in `guard.rs` and the function
//! `broken_guards`, those of rooms and events that must be new in the tables' `TAKEN` and the function
//! `taken`. Appends that stand in each other's way are never in one batch ([`super::claims`]).

use serde::Deserialize;
use stoa_base::Nid;

use super::{Append, AppendError, stored::from_name};
use crate::{Error, Result};

/// An append that the database does not let be written.
#[derive(Debug, Deserialize)]
pub(super) struct Conflict {
    /// The append concerned, by its place in the batch.
    #[serde(rename = "member")]
    place: Option<usize>,
    /// The append concerned, by a room or event that it holds.
    nid: Option<Nid>,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// The room has moved, or is there already.
    Room,
    /// The event is there already.
    Event,
    /// The session has ended.
    Session,
    /// The account is not what it was.
    Account,
    /// Something else has the internal number.
    Nid,
}

impl Conflict {
    /// Reads the conflict of the append at a place in the batch.
    pub(super) fn at_place(place: i64, reason: &str) -> Result<Self> {
        let place = usize::try_from(place).map_err(Error::answer)?;
        Ok(Self {
            place: Some(place),
            nid: None,
            reason: from_name(reason).map_err(Error::answer)?,
        })
    }

    /// Reads the conflict of the append that holds the room or event `nid`.
    pub(super) fn of_nid(nid: Nid, reason: &str) -> Result<Self> {
        Ok(Self { place: None, nid: Some(nid), reason: from_name(reason).map_err(Error::answer)? })
    }

    /// Whether the append at `place` is the one that must not be written.
    pub(super) fn concerns(&self, place: usize, append: &Append) -> bool {
        let holds = |nid: Nid| {
            append.events.iter().any(|row| row.nid.0 == nid)
                || append.rooms.iter().any(|row| row.nid.0 == nid)
        };
        self.place == Some(place) || self.nid.is_some_and(holds)
    }

    /// What the caller of the append hears.
    pub(super) fn to_error(&self) -> AppendError {
        match self.reason {
            Reason::Room | Reason::Nid => AppendError::Conflict,
            Reason::Event => AppendError::Duplicate,
            Reason::Session => AppendError::SessionEnded,
            Reason::Account => AppendError::AccountChanged,
        }
    }
}
