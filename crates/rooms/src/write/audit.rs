//! The audit log entries of rooms: changes to another user's membership.

use ruma::events::{TimelineEventType, room::member::MembershipState};
use stoa_base::{Actor, Clock};
use stoa_storage::log::{Append, AuditAction, AuditRow};

use crate::{
    cache::room::Room,
    error::Result,
    graph::{event::Event, events::Events},
};

/// Adds entries to the audit log.
#[derive(Clone, Debug)]
pub(crate) struct MembershipAudit {
    pub(crate) clock: Clock,
    pub(crate) events: Events,
}

impl MembershipAudit {
    /// Adds an entry to the append of an event that removes, bans or unbans a user other than its
    /// sender, whichever operation the event comes from.
    pub(crate) async fn note(
        &self,
        actor: &Actor,
        room: &Room,
        event: &Event,
        append: &mut Append,
    ) -> Result<()> {
        let pdu = &event.pdu;
        let Some(target) = pdu.state_key.as_deref() else { return Ok(()) };
        if pdu.event_type != TimelineEventType::RoomMember || target == pdu.sender {
            return Ok(());
        }
        let before = match event.replaces {
            Some(nid) => self.events.get(nid).await?.membership(),
            None => None,
        };
        let action = match (before, event.membership()) {
            (Some(MembershipState::Ban), Some(MembershipState::Leave)) => {
                AuditAction::MemberUnbanned
            }
            (_, Some(MembershipState::Leave)) => AuditAction::MemberKicked,
            (_, Some(MembershipState::Ban)) => AuditAction::MemberBanned,
            _ => return Ok(()),
        };
        let row = AuditRow::new(self.clock.now_ms(), action, actor, target);
        append.audit.push(row.with("room", room.id.as_str()).with("event", pdu.event_id.as_str()));
        Ok(())
    }
}
