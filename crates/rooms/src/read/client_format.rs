//! Events as clients get them: the event's own fields, and an `unsigned` made for the recipient.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-event-format>

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ruma::{OwnedEventId, RoomId, UserId, events::room::member::MembershipState};
use serde::Serialize;
use serde_json::value::RawValue;
use stoa_base::{Allowance, Clock, DeviceKey, EventNid};

use crate::{
    cache::{erased_users::ErasedUsers, transactions::Transaction},
    error::Result,
    graph::{
        chunks::{Caching, Chunks},
        event::Event,
        pdu::Pdu,
        state::Part,
        state_events::StateEvents,
    },
    read::{erased::ErasedContent, visible_state::VisibleState},
};

/// The recipient of events.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The user.
    pub user_id: &'a UserId,
    /// The device. It gets the IDs of its own transactions.
    pub device: Option<&'a DeviceKey>,
    /// Whether each event contains its room ID. It does not in a sync, where events are listed by
    /// room.
    pub with_room_id: bool,
}

#[derive(Serialize)]
struct ClientEvent<'a> {
    content: &'a RawValue,
    event_id: &'a OwnedEventId,
    origin_server_ts: ruma::MilliSecondsSinceUnixEpoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<&'a OwnedEventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    sender: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a ruma::events::TimelineEventType,
    unsigned: Unsigned<'a>,
}

#[derive(Serialize)]
struct Unsigned<'a> {
    age: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'a MembershipState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_because: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces_state: Option<&'a OwnedEventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
}

/// Stripped state: what users who are not in a room are shown of it.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
#[derive(Serialize)]
struct StrippedEvent<'a> {
    content: &'a RawValue,
    sender: &'a UserId,
    state_key: &'a str,
    #[serde(rename = "type")]
    kind: &'a ruma::events::TimelineEventType,
}

/// Serializes events for clients.
#[derive(Clone, Debug)]
pub struct ClientFormat {
    pub(crate) clock: Clock,
    pub(crate) state_events: StateEvents,
    pub(crate) erased_users: Arc<ErasedUsers>,
    pub(crate) erased: ErasedContent,
}

impl ClientFormat {
    /// Serializes events for a recipient, each with the recipient's membership at the event if that
    /// is given. Fails if the texts and what is read for them take more memory than is allowed.
    pub async fn to_client<'e>(
        &self,
        recipient: Recipient<'_>,
        events: impl IntoIterator<Item = (&'e Arc<Event>, Option<&'e MembershipState>)>,
        allowance: &Allowance,
    ) -> Result<Vec<Box<RawValue>>> {
        let events: Vec<_> = events.into_iter().collect();
        let others = events.iter().flat_map(|(event, _)| [event.replaces, event.redacted_by]);
        let others: Vec<EventNid> = others.flatten().collect();
        self.write_all(recipient, events, others, allowance).await
    }

    /// Like [`ClientFormat::to_client`], for the events of a state. `prev_content` and
    /// `replaces_state` are left out, because the replaced events would have to be read, and there
    /// can be as many as the room has members.
    pub async fn state_to_client<'e>(
        &self,
        recipient: Recipient<'_>,
        events: impl IntoIterator<Item = &'e Arc<Event>>,
        allowance: &Allowance,
    ) -> Result<Vec<Box<RawValue>>> {
        let events = self.erased.without_erased(recipient.user_id, events).await?;
        let redactions = events.iter().filter_map(|event| event.redacted_by).collect();
        let events = events.iter().map(|event| (event, None)).collect();
        self.write_all(recipient, events, redactions, allowance).await
    }

    /// Serializes the events in a part of a state that the recipient may see, in the room's order.
    /// Only `wanted` events are included. Fails if that takes more memory than is allowed. Only one
    /// chunk of the events is in memory at a time.
    pub async fn write_state(
        &self,
        recipient: Recipient<'_>,
        state: VisibleState,
        part: Part,
        wanted: impl Fn(&Event) -> bool,
        allowance: &Allowance,
    ) -> Result<Vec<Box<RawValue>>> {
        let entries = self.state_events.states.entries(state.nid(), part, allowance).await?;
        let nids: Vec<EventNid> = entries.into_values().collect();
        let mut written = Vec::with_capacity(nids.len());
        let mut chunks = Chunks::new(&nids);
        while let Some(chunk) = chunks.next() {
            let mut events = self.state_events.events.read_many(chunk).await?;
            let bytes = chunks.learn(&events);
            allowance.take(bytes)?;
            events.retain(|event| wanted(event));
            let texts = self.state_to_client(recipient, &events, allowance).await?;
            // Each text takes its size again in the answer.
            allowance.take(texts.iter().map(|text| text.get().len() as u64).sum())?;
            allowance.give_back(bytes);
            let places = events.iter().map(|event| (event.order, event.nid));
            written.extend(places.zip(texts));
        }
        written.sort_unstable_by_key(|(place, _)| *place);
        Ok(written.into_iter().map(|(_, text)| text).collect())
    }

    /// Serializes events. `others` are the events that they replaced or that redacted them.
    async fn write_all(
        &self,
        recipient: Recipient<'_>,
        events: Vec<(&Arc<Event>, Option<&MembershipState>)>,
        others: Vec<EventNid>,
        allowance: &Allowance,
    ) -> Result<Vec<Box<RawValue>>> {
        let mut others = self.state_events.events.within(&others, Caching::Fill, allowance).await?;
        let erased = self.erased_users.all().await?;
        if !erased.is_empty() {
            // If the sender of one of these was erased, its content is hidden from every reader
            // alike.
            let is_erased = |other: &&mut Arc<Event>| erased.contains_key(&other.pdu.sender);
            for other in others.values_mut().filter(is_erased) {
                *other = self.erased.without_content(other).await?;
            }
        }
        events
            .into_iter()
            .map(|(event, membership)| {
                let text = self.write(recipient, event, membership, &others)?;
                allowance.take(text.get().len() as u64)?;
                Ok(text)
            })
            .collect()
    }

    fn write(
        &self,
        recipient: Recipient<'_>,
        event: &Event,
        membership: Option<&MembershipState>,
        others: &HashMap<EventNid, Arc<Event>>,
    ) -> Result<Box<RawValue>> {
        let other = |nid: Option<EventNid>| nid.and_then(|nid| others.get(&nid));
        let replaced = other(event.replaces);
        let redaction = other(event.redacted_by);
        let redacted_because = match redaction {
            Some(redaction) => Some(self.write(recipient, redaction, None, &HashMap::new())?),
            None => None,
        };
        let pdu = &event.pdu;
        let transaction_id = event
            .txn
            .as_ref()
            .filter(|(sent_by, _)| {
                recipient.device.is_some_and(|device| device.as_str() == sent_by)
            })
            .and_then(|(_, key)| Transaction::id_of(key));
        let age =
            self.clock.now_ms() - i64::try_from(u64::from(pdu.origin_server_ts.get())).unwrap_or(0);
        let content = content_for_clients(pdu)?;
        let written = ClientEvent {
            content: &content,
            event_id: &pdu.event_id,
            origin_server_ts: pdu.origin_server_ts,
            redacts: pdu.redacts.as_ref(),
            room_id: recipient.with_room_id.then_some(&*pdu.room_id),
            sender: &pdu.sender,
            state_key: pdu.state_key.as_deref(),
            kind: &pdu.event_type,
            unsigned: Unsigned {
                age: age.max(0),
                membership,
                prev_content: replaced.map(|event| &*event.pdu.content),
                redacted_because,
                replaces_state: replaced.map(|event| &event.pdu.event_id),
                transaction_id,
            },
        };
        Ok(serde_json::value::to_raw_value(&written).map_err(stoa_storage::Error::corrupt)?)
    }
}

/// The content for clients. In a redaction it includes `redacts`: newer clients look for it there
/// in every room version, older ones at the top level of the event.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mroomredaction>
fn content_for_clients(pdu: &Pdu) -> Result<Cow<'_, RawValue>> {
    let Some(redacts) = &pdu.redacts else { return Ok(Cow::Borrowed(&pdu.content)) };
    let mut content: BTreeMap<Cow<'_, str>, Cow<'_, RawValue>> =
        serde_json::from_str(pdu.content.get()).map_err(stoa_storage::Error::corrupt)?;
    let redacts = serde_json::value::to_raw_value(redacts).map_err(stoa_storage::Error::corrupt)?;
    content.insert("redacts".into(), Cow::Owned(redacts));
    let content = serde_json::value::to_raw_value(&content);
    Ok(Cow::Owned(content.map_err(stoa_storage::Error::corrupt)?))
}

impl Event {
    /// The event as stripped state, or none if it is not a state event.
    pub fn to_stripped(&self) -> Option<Box<RawValue>> {
        let stripped = StrippedEvent {
            content: &self.pdu.content,
            sender: &self.pdu.sender,
            state_key: self.pdu.state_key.as_deref()?,
            kind: &self.pdu.event_type,
        };
        serde_json::value::to_raw_value(&stripped).ok()
    }
}
