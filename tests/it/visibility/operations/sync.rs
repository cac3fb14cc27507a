//! Sync: the rooms that the reader is in, is invited to, or has left.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stoa_testing::encode;

use crate::visibility::{
    oracle::text,
    scene::{Reader, Scene},
};

pub(super) async fn sync(scene: &Scene, reader: &Reader) {
    check(scene, reader, 0, None).await;
    for (known, token) in &reader.tokens {
        check(scene, reader, *known, Some(token)).await;
    }
}

/// Checks the sync of a reader who, if they have a token, already has the first `known` events.
async fn check(scene: &Scene, reader: &Reader, known: usize, since: Option<&str>) {
    let filter = json!({ "room": { "include_leave": true, "timeline": { "limit": 1000 } } });
    let since = since.map(|token| format!("&since={}", encode(token))).unwrap_or_default();
    let filter = encode(&filter.to_string());
    for at_end in [false, true] {
        let path =
            format!("/_matrix/client/v3/sync?filter={filter}{since}&use_state_after={at_end}");
        let answer = reader.client.get(&path).await.ok();
        let shown = Shown { scene, reader, known, is_whole: since.is_empty(), at_end };
        shown.check(&answer).await;
    }
}

struct Shown<'a> {
    scene: &'a Scene,
    reader: &'a Reader,
    known: usize,
    is_whole: bool,
    at_end: bool,
}

impl Shown<'_> {
    async fn check(&self, answer: &Value) {
        let history = &self.scene.history;
        let me = self.reader.id();
        let membership = history.present_membership(me);
        let own = history.last_member_event(me);
        let is_new = own.is_some_and(|own| own >= self.known);
        let is_told = self.is_whole || is_new;
        for section in ["join", "invite", "leave"] {
            let room = &answer["rooms"][section][&self.scene.room];
            match (section, membership.as_str(), own) {
                ("join", "join", _) => self.joined(room).await,
                ("invite", "invite", Some(own)) if is_told => self.invited(room, own),
                ("leave", "leave" | "ban", Some(own)) if history.forgotten.contains(me) => {
                    assert!(is_new || room.is_null(), "a forgotten room is shown: {room}");
                    self.nothing_but(room, own);
                }
                ("leave", "leave" | "ban", Some(own)) if is_told => self.left(room, own).await,
                _ => assert!(room.is_null(), "{section} of {membership}: {room}"),
            }
        }
    }

    async fn joined(&self, room: &Value) {
        let history = &self.scene.history;
        let stayed = !self.is_whole && history.stayed_since(self.reader.id(), self.known);
        let from = if stayed { self.known } else { 0 };
        if room.is_null() {
            assert_eq!(from, history.events.len(), "the room is not shown");
            return;
        }
        let shown = self.timeline(room, from, history.events.len()).await;
        self.state(room, from, &shown);
    }

    /// Checks a timeline together with the events that `/messages` gives before it, and returns the
    /// timeline.
    ///
    /// If a state event was replaced by an event that the reader may not see, the timeline begins
    /// after the change that they may see, so that they end up with the right state.
    async fn timeline(&self, room: &Value, from: usize, end: usize) -> Vec<usize> {
        let history = &self.scene.history;
        let timeline = &room["timeline"];
        let shown = history.places(&timeline["events"]);
        let mut expected = history.visible(self.reader.id(), from..end);
        let missing = expected.len().saturating_sub(shown.len());
        assert_eq!(shown, expected[missing..]);
        if missing > 0 && history.present(self.reader.id()).is_some() {
            assert_eq!(timeline["limited"], true, "{missing} are missing");
            let start = encode(timeline["prev_batch"].as_str().unwrap());
            let page = format!("messages?dir=b&limit={missing}&from={start}");
            let page = self.reader.client.get(&self.scene.path(&page)).await.ok();
            expected.truncate(missing);
            expected.reverse();
            assert_eq!(history.places(&page["chunk"]), expected);
        }
        shown
    }

    fn invited(&self, room: &Value, own: usize) {
        let history = &self.scene.history;
        let state = history.state_after(own);
        for event in room["invite_state"]["events"].as_array().unwrap() {
            assert_ne!(event["type"], "m.room.history_visibility", "{event}");
            let key = (text(&event["type"]), text(&event["state_key"]));
            assert_eq!(event["content"], history.events[state[&key]]["content"]);
        }
    }

    async fn left(&self, room: &Value, own: usize) {
        let history = &self.scene.history;
        let me = self.reader.id();
        let was_in_then = history.membership(me, self.known) == "join";
        let departure = history.departures(me).last().copied().filter(|left| *left >= self.known);
        let begins_anew = !was_in_then && departure.is_some();
        let from = if begins_anew { 0 } else { self.known };
        let shown = self.timeline(room, from, own + 1).await;
        if departure.is_some() {
            self.state(room, from, &shown);
        } else {
            let told = if self.at_end { vec![own] } else { Vec::new() };
            assert_eq!(history.places(&room[self.part()]["events"]), told);
        }
    }

    fn part(&self) -> &'static str {
        if self.at_end { "state_after" } else { "state" }
    }

    /// Whether the reader may know of a state change: they had not left yet, or may see the event.
    fn is_known(&self, at: usize) -> bool {
        let history = &self.scene.history;
        let me = self.reader.id();
        let is_in = history.present_membership(me) == "join";
        is_in
            || history.departures(me).last().is_some_and(|left| at <= *left)
            || (history.last_member_event(me).is_some_and(|own| at <= own)
                && history.may_see(me, at))
    }

    /// Checks that the state, with the timeline applied, is everything that the reader may know.
    fn state(&self, room: &Value, from: usize, timeline: &[usize]) {
        let history = &self.scene.history;
        let changes = history.changes(from).into_iter();
        let told: BTreeSet<usize> = changes
            .filter_map(|changes| {
                let mut known = changes.into_iter().filter(|at| self.is_known(*at));
                let is_shown = |at: &usize| !self.at_end && timeline.contains(at);
                if self.at_end {
                    known.next_back()
                } else {
                    known.take_while(|at| !is_shown(at)).last()
                }
            })
            .collect();
        let shown: BTreeSet<usize> =
            history.places(&room[self.part()]["events"]).into_iter().collect();
        assert_eq!(shown, told, "{} from {from}", self.part());
    }

    fn nothing_but(&self, room: &Value, own: usize) {
        for part in ["state", "state_after", "timeline"] {
            if let Some(events) = room[part].get("events") {
                let shown = self.scene.history.places(events);
                assert!(shown.iter().all(|at| *at == own), "{room}");
            }
        }
    }
}
