//! Whether a redaction takes effect, and its effects.

use ruma::{OwnedServerName, UserId, state_res::events::RoomPowerLevelsIntField};
use stoa_base::StateNid;
use stoa_storage::log::{Append, RedactionRow, Stream};

use crate::{
    cache::room::Room,
    error::Result,
    graph::{event::Event, redacted::redacted_json, state_events::StateEvents},
};

/// Decides who can redact what.
#[derive(Clone, Debug)]
pub(crate) struct Redactors {
    pub(crate) server_name: OwnedServerName,
    pub(crate) state_events: StateEvents,
}

impl Redactors {
    /// Whether a redaction by `sender` takes effect. It does if the sender has the power to redact,
    /// or if the event is their own. If the sender is on another server, all events from that
    /// server count as their own.
    ///
    /// <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions>
    pub(crate) async fn may_redact(
        &self,
        room: &Room,
        state: StateNid,
        sender: &UserId,
        target: &Event,
    ) -> Result<bool> {
        let is_own = if *sender.server_name() == self.server_name {
            target.pdu.sender == *sender
        } else {
            target.pdu.sender.server_name() == sender.server_name()
        };
        if is_own {
            return Ok(true);
        }
        let power = self.state_events.power(&room.rules, state).await?;
        Ok(power.of(sender)? >= power.needed(RoomPowerLevelsIntField::Redact)?)
    }
}

/// Adds to `append` that `redaction` removes the content of `target`.
pub(crate) fn note_redaction(
    room: &Room,
    target: &Event,
    redaction: &Event,
    append: &mut Append,
) -> Result<()> {
    let json = redacted_json(&target.pdu, &room.rules)?;
    append.redactions.push(RedactionRow { nid: target.nid, redacted_by: redaction.nid, json });
    append.touched.add(Stream::Redaction, room.nid);
    Ok(())
}
