//! The room directory.

pub(crate) mod get_public_rooms;
pub(crate) mod get_public_rooms_filtered;
pub(crate) mod get_room_visibility;
pub(crate) mod set_room_visibility;

use ruma::{OwnedServerName, UInt};
use stoa_http::{Error, Result};
use stoa_rooms::Rooms;

/// The largest page of the directory that a client can ask for, in rooms.
fn limit(limit: Option<UInt>) -> Option<usize> {
    limit.map(|limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX))
}

/// Refuses requests for another server's room directory.
fn check_server(rooms: &Rooms, server: Option<&OwnedServerName>) -> Result<()> {
    if server.is_some_and(|server| server != rooms.server_name()) {
        return Err(Error::not_found("The room directories of other servers are not available."));
    }
    Ok(())
}
