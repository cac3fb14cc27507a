//! What reading operations have in common: for whom events are written, and the member events of
//! those who sent them.

use std::{collections::BTreeSet, sync::Arc};

use ruma::UserId;
use stoa_accounts::Session;
use stoa_base::Allowance;
use stoa_rooms::{Event, Reader, Rooms, VisibleState};

use crate::http::Result;

/// The device that reads, as transactions name it.
pub(crate) struct ReadingDevice<'a> {
    user_id: &'a UserId,
    device: String,
}

/// The device whose session it is.
pub(crate) fn reader(session: &Session) -> ReadingDevice<'_> {
    let device = format!("{} {}", session.user_id, session.device_key());
    ReadingDevice { user_id: &session.user_id, device }
}

impl<'a> ReadingDevice<'a> {
    pub(crate) const fn user_id(&self) -> &'a UserId {
        self.user_id
    }

    /// Events are written with the room that they belong to.
    pub(crate) fn in_room(&self) -> Reader<'_> {
        Reader { user_id: self.user_id, device: Some(&self.device), with_room_id: true }
    }
}

/// The member events, in `state`, of those who sent `events`, as long as they do not take more than is
/// allowed.
pub(crate) async fn members_of_senders(
    rooms: &Rooms,
    state: VisibleState,
    events: impl IntoIterator<Item = &Arc<Event>>,
    allowance: &Allowance,
) -> Result<Vec<Arc<Event>>> {
    let senders: BTreeSet<&UserId> = events.into_iter().map(|event| &*event.pdu.sender).collect();
    Ok(rooms.members_at(state, senders, allowance).await?)
}
