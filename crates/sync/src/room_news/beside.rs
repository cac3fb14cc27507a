//! What is read once for all rooms, before it is known which of them have news.

use stoa_base::{Pos, RoomNid};
use stoa_rooms::tokens::EphemeralPosition;

use crate::{
    Reader, Result, Sources,
    news::{account_data::ChangedAccountData, typing::TypingChanges},
};

/// The reader's changed account data, and the rooms whose typing list differs from the one that the
/// client knows. The default says that nothing changed in any room.
#[derive(Debug, Default)]
pub struct Beside {
    pub(crate) account_data: ChangedAccountData,
    pub(crate) typing: TypingChanges,
}

impl Beside {
    /// Reads the account data that changed after `since`, or all of it without `since`; and the
    /// typing lists of the joined rooms that differ from what the client knows.
    pub(crate) async fn read(
        sources: &Sources,
        reader: &Reader,
        since: Option<Pos>,
        joined: impl Iterator<Item = RoomNid> + Clone,
        known: Option<EphemeralPosition>,
    ) -> Result<Self> {
        let Sources { store, changes, .. } = sources;
        Ok(Self {
            account_data: ChangedAccountData::read(store, changes, reader, since).await?,
            typing: TypingChanges::look(&sources.typing, joined, known),
        })
    }

    /// The rooms with something to report.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.account_data.rooms().chain(self.typing.rooms())
    }
}
