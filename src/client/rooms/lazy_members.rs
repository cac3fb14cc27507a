//! What reading operations have in common: for whom events are written, and the member events of
//! those who sent them.

use std::{collections::BTreeSet, sync::Arc};

use ruma::UserId;
use stoa_accounts::Session;
use stoa_base::{Allowance, DeviceKey};
use stoa_http::Result;
use stoa_rooms::{Event, Recipient, Rooms, VisibleState};

/// The device that reads.
pub(crate) struct ReadingDevice<'a> {
    user_id: &'a UserId,
    device: DeviceKey,
}

/// The device whose session it is.
pub(crate) fn reader(session: &Session) -> ReadingDevice<'_> {
    ReadingDevice { user_id: &session.user_id, device: session.device_key() }
}

impl ReadingDevice<'_> {
    /// Events are written with the room that they belong to.
    pub(crate) fn in_room(&self) -> Recipient<'_> {
        Recipient { user_id: self.user_id, device: Some(&self.device), with_room_id: true }
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
    Ok(rooms.states.members_at(state, senders, allowance).await?)
}
