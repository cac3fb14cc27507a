//! Serializes events for the client.

use std::{sync::Arc, vec::IntoIter};

use ruma::events::room::member::MembershipState;
use serde_json::value::RawValue;
use stoa_base::Allowance;
use stoa_rooms::{Event, Recipient, Rooms};

use crate::{
    Reader, Result,
    news::{state::StateNews, timeline::Timeline},
    room_news::{Json, Question},
    span::ByRoom,
    wants::EventFormat,
};

/// The serialized events of all rooms: the timelines of all spans, and the states of all spans,
/// each in the order of the spans. They are taken in that order.
pub(crate) struct Written {
    timelines: IntoIter<Json>,
    states: IntoIter<Json>,
}

impl Written {
    pub(crate) async fn new(
        rooms: &Rooms,
        reader: &Reader,
        question: Question<'_>,
        timelines: &ByRoom<Timeline>,
        states: &ByRoom<StateNews>,
    ) -> Result<Self> {
        let Question { spans, wants, .. } = question;
        let mut shown: Vec<(&Arc<Event>, Option<&MembershipState>)> = Vec::new();
        let mut told: Vec<&Arc<Event>> = Vec::new();
        for span in spans {
            let timeline = timelines.get(&span.room.nid).map(|timeline| &timeline.events);
            let events = timeline.into_iter().flatten();
            shown.extend(events.map(|(event, membership)| (event, Some(membership))));
            told.extend(states.get(&span.room.nid).into_iter().flat_map(|state| &state.events));
        }
        let allowance = &reader.allowance;
        let (mut timelines, mut states) = match wants.format {
            EventFormat::Client => {
                let device = Some(&reader.device);
                let user_id = &*reader.user_id;
                let recipient = Recipient { user_id, device, with_room_id: false };
                let shown = rooms.client_format.to_client(recipient, shown, allowance).await?;
                (shown, rooms.client_format.state_to_client(recipient, told, allowance).await?)
            }
            EventFormat::Federation => {
                let told = rooms.erased.without_erased(&reader.user_id, told).await?;
                let shown = shown.into_iter().map(|(event, _)| event);
                (raw(shown, allowance)?, raw(&told, allowance)?)
            }
        };
        if let Some(fields) = &wants.fields {
            for event in timelines.iter_mut().chain(&mut states) {
                *event = fields.pick(event);
            }
        }
        Ok(Self { timelines: timelines.into_iter(), states: states.into_iter() })
    }

    pub(crate) fn take_timeline(&mut self, count: usize) -> Vec<Json> {
        self.timelines.by_ref().take(count).collect()
    }

    pub(crate) fn take_state(&mut self, count: usize) -> Vec<Json> {
        self.states.by_ref().take(count).collect()
    }
}

/// Events in the federation format. Fails if they take more memory than is allowed.
fn raw<'e>(
    events: impl IntoIterator<Item = &'e Arc<Event>>,
    allowance: &Allowance,
) -> Result<Vec<Json>> {
    let raw = events.into_iter().map(|event| {
        let text = event.pdu.json();
        allowance.take(text.len() as u64)?;
        Ok(RawValue::from_string(text.to_owned()).map_err(stoa_storage::Error::corrupt)?)
    });
    raw.collect()
}
