//! A client like real ones: it keeps what it was sent and fills the gaps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stoa_testing::{TestClient, encode, in_room};

use super::{
    events::{entry, id, list, plain, redact},
    filters::Wishes,
};
use crate::dice::Dice;

/// A device, on any of the nodes.
#[derive(Clone, Debug)]
pub(super) struct Device(pub(super) Vec<TestClient>);

impl Device {
    pub(super) fn on_any(&self, dice: &Dice) -> &TestClient {
        dice.pick(&self.0)
    }
}

/// The user's membership of a room, from the last answer about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Join,
    Invite,
    Leave,
}

/// What a client holds of a room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) section: Section,
    pub(super) state: BTreeMap<(String, String), Value>,
    /// Members known from older events, as they were then, if members are loaded lazily.
    pub(super) past_members: BTreeSet<String>,
    /// Without a gap, oldest first.
    pub(super) timeline: Vec<Value>,
    /// Where to continue backwards, if there is more.
    pub(super) start: Option<String>,
    pub(super) invite_state: Value,
    pub(super) summary: BTreeMap<String, Value>,
    /// By type, user and thread.
    pub(super) receipts: BTreeMap<(String, String, String), Value>,
    pub(super) account_data: BTreeMap<String, Value>,
}

impl Room {
    fn new(section: Section) -> Self {
        Self {
            section,
            state: BTreeMap::new(),
            past_members: BTreeSet::new(),
            timeline: Vec::new(),
            start: None,
            invite_state: Value::Null,
            summary: BTreeMap::new(),
            receipts: BTreeMap::new(),
            account_data: BTreeMap::new(),
        }
    }
}

/// What a client holds.
#[derive(Debug)]
pub(super) struct Client {
    device: Device,
    dice: Dice,
    pub(super) wishes: Wishes,
    pub(super) since: Option<String>,
    pub(super) rooms: BTreeMap<String, Room>,
    pub(super) account_data: BTreeMap<String, Value>,
    forgotten: BTreeSet<String>,
}

impl Client {
    pub(super) fn new(device: Device, dice: Dice, wishes: Wishes) -> Self {
        let (rooms, account_data, forgotten) = Default::default();
        Self { device, dice, wishes, since: None, rooms, account_data, forgotten }
    }

    /// Syncs and takes the answer in. Now and then the answer gets lost on its way.
    pub(super) async fn sync(&mut self, timeout: u64) {
        let answer = self.ask(timeout).await;
        if self.since.is_some() && self.dice.chance(10) {
            return;
        }
        self.take(&answer).await;
    }

    /// Syncs until it has all that there is, and nothing gets lost.
    pub(super) async fn catch_up(&mut self) {
        let answer = self.ask(0).await;
        self.take(&answer).await;
    }

    async fn ask(&self, timeout: u64) -> Value {
        let filter = encode(&self.wishes.filter.to_string());
        let at_end = self.wishes.use_state_after;
        let mut path = format!(
            "/_matrix/client/v3/sync?filter={filter}&timeout={timeout}&use_state_after={at_end}"
        );
        if let Some(since) = &self.since {
            path.push_str(&format!("&since={since}"));
            if self.dice.chance(3) {
                path.push_str("&full_state=true");
            }
        }
        self.device.on_any(&self.dice).get(&path).await.ok()
    }

    async fn take(&mut self, answer: &Value) {
        self.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
        for event in list(&answer["account_data"]["events"]) {
            self.account_data.insert(kind(event), event["content"].clone());
        }
        let sections =
            [("join", Section::Join), ("invite", Section::Invite), ("leave", Section::Leave)];
        for (name, section) in sections {
            for (room_id, news) in answer["rooms"][name].as_object().into_iter().flatten() {
                self.take_room(room_id, section, news).await;
            }
        }
    }

    async fn take_room(&mut self, room_id: &str, section: Section, news: &Value) {
        if self.forgotten.contains(room_id) {
            return;
        }
        let mut room = match self.rooms.remove(room_id) {
            // A user who joins is sent everything.
            Some(room) if section == Section::Join && room.section != section => Room::new(section),
            Some(room) => Room { section, ..room },
            None => Room::new(section),
        };
        if section == Section::Invite {
            room.invite_state = news["invite_state"]["events"].clone();
            self.rooms.insert(room_id.to_owned(), room);
            return;
        }
        for event in list(&news["account_data"]["events"]) {
            room.account_data.insert(kind(event), event["content"].clone());
        }
        for event in list(&news["ephemeral"]["events"]) {
            take_receipts(&mut room, event);
        }
        for (name, value) in news["summary"].as_object().into_iter().flatten() {
            room.summary.insert(name.clone(), value.clone());
        }
        let part = if self.wishes.use_state_after { "state_after" } else { "state" };
        for event in list(&news[part]["events"]) {
            room.state.insert(entry(event).unwrap(), plain(event));
        }
        let (new, start) = self.new_events(room_id, &mut room, &news["timeline"]).await;
        if room.timeline.is_empty() {
            room.start = start;
        }
        if !self.wishes.use_state_after {
            // Events that the client already has count again: the state is that before all of them.
            // Events that fill a gap are history.
            for event in list(&news["timeline"]["events"]) {
                if let Some(entry) = entry(event) {
                    room.state.insert(entry, plain(event));
                }
            }
        }
        room.timeline.extend(new.iter().cloned());
        for redaction in new.iter().filter(|event| event["type"] == "m.room.redaction") {
            apply(&mut room, redaction);
        }
        self.rooms.insert(room_id.to_owned(), room);
    }

    /// The events of a timeline that follow those the client has, with those that the answer left
    /// out, and where to continue backwards from them.
    async fn new_events(
        &self,
        room_id: &str,
        room: &mut Room,
        timeline: &Value,
    ) -> (Vec<Value>, Option<String>) {
        let mut new: Vec<Value> = list(&timeline["events"]).iter().map(plain).collect();
        let mut from = timeline["prev_batch"].as_str().map(str::to_owned);
        let Room { timeline: held, past_members, .. } = room;
        let is_held = |event: &Value| held.iter().any(|held| id(held) == id(event));
        if let Some(last) = new.iter().rposition(is_held) {
            return (new.split_off(last + 1), from);
        }
        // A new room is held as far back as the filter demands.
        let is_enough = |new: &[Value]| held.is_empty() && new.len() >= self.wishes.limit();
        while timeline["limited"] == true
            && !is_enough(&new)
            && let Some(token) = from.take()
        {
            let page = self.page(room_id, &token).await;
            past_members
                .extend(list(&page["state"]).iter().filter_map(entry).map(|(_, user)| user));
            for event in list(&page["chunk"]) {
                if is_held(event) {
                    return (new, None);
                }
                new.insert(0, plain(event));
            }
            from = page["end"].as_str().map(str::to_owned);
            assert_ne!(from.as_ref(), Some(&token), "the gap of {room_id} has no end");
        }
        (new, from)
    }

    /// A page of a room's events backwards; null if the user may not read the room.
    pub(super) async fn page(&self, room_id: &str, from: &str) -> Value {
        let mut filter = self.wishes.timeline().clone();
        filter.as_object_mut().unwrap().remove("limit");
        filter["lazy_load_members"] = self.wishes.is_lazy().into();
        let filter = encode(&filter.to_string());
        let limit = 1 + self.dice.below(10);
        let page = format!("messages?dir=b&from={from}&limit={limit}&filter={filter}");
        let page = self.device.on_any(&self.dice).get(&in_room(room_id, &page)).await;
        if page.status == 403 {
            return Value::Null;
        }
        page.ok()
    }

    /// Forgets a room, as a client does that has asked the server to.
    pub(super) fn forget(&mut self, room_id: &str) {
        self.rooms.remove(room_id);
        self.forgotten.insert(room_id.to_owned());
    }

    /// Takes notice of a room again, since the user's membership of it has changed.
    pub(super) fn remember(&mut self, room_id: &str) {
        self.forgotten.remove(room_id);
    }
}

fn kind(event: &Value) -> String {
    event["type"].as_str().unwrap().to_owned()
}

/// Applies a redaction to all that is held of the room.
fn apply(room: &mut Room, redaction: &Value) {
    let target = redaction["redacts"].as_str().unwrap_or_default();
    let held = room.timeline.iter_mut().chain(room.state.values_mut());
    for event in held.filter(|event| id(event) == target) {
        redact(event, redaction);
    }
}

fn take_receipts(room: &mut Room, event: &Value) {
    if event["type"] != "m.receipt" {
        return;
    }
    for (event_id, kinds) in event["content"].as_object().unwrap() {
        for (kind, users) in kinds.as_object().unwrap() {
            for (user, receipt) in users.as_object().unwrap() {
                let thread = receipt["thread_id"].as_str().unwrap_or("unthreaded").to_owned();
                let key = (kind.clone(), user.clone(), thread);
                let held = serde_json::json!({ "event": event_id, "ts": receipt["ts"].clone() });
                room.receipts.insert(key, held);
            }
        }
    }
}
