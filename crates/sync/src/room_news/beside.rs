//! What is read for all rooms at once, before it is known of which of them there is news.

use stoa_base::{Pos, RoomNid};
use stoa_rooms::tokens::EphemeralPosition;

use crate::{
    Reader, Result, Streams,
    stream::{account_data::AccountData, typing::TypingChanges},
};

/// The reader's account data that changed, and the rooms in which others are typing than the client
/// knows. The default says of no room that anything changed.
#[derive(Debug, Default)]
pub struct Beside {
    pub(crate) account_data: AccountData,
    pub(crate) typing: TypingChanges,
}

impl Beside {
    /// What changed after `since`, or all; and who is typing in the rooms that the reader is in, where
    /// the client does not know it.
    pub(crate) async fn read(
        streams: &Streams,
        reader: &Reader,
        since: Option<Pos>,
        joined: impl Iterator<Item = RoomNid> + Clone,
        known: Option<EphemeralPosition>,
    ) -> Result<Self> {
        let Streams { store, changes, .. } = streams;
        Ok(Self {
            account_data: AccountData::read(store, changes, reader, since).await?,
            typing: TypingChanges::look(&streams.typing, joined, known),
        })
    }

    /// The rooms of which there is something to tell.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.account_data.rooms().chain(self.typing.rooms())
    }
}
