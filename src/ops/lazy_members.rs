//! The member events of the senders of other events.

use std::{collections::BTreeSet, sync::Arc};

use ruma::UserId;
use stoa_base::Allowance;
use stoa_http::Result;
use stoa_rooms::{Event, Rooms, VisibleState};

/// The member events, in `state`, of the senders of `events`. Fails if they exceed the allowance.
pub(crate) async fn members_of_senders(
    rooms: &Rooms,
    state: VisibleState,
    events: impl IntoIterator<Item = &Arc<Event>>,
    allowance: &Allowance,
) -> Result<Vec<Arc<Event>>> {
    let senders: BTreeSet<&UserId> = events.into_iter().map(|event| &*event.pdu.sender).collect();
    Ok(rooms.states.members_at(state, senders, allowance).await?)
}
