//! What a reader may see of a room, written as directly as in the specification.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

/// All events of a room, in their order.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) events: Vec<Value>,
    /// The users who have left the room and forgotten it.
    pub(super) forgotten: HashSet<String>,
}

/// A room's state: by type and state key, the place of the event.
pub(super) type State = BTreeMap<(String, String), usize>;

impl History {
    /// Whether `reader` may see the event at `at`.
    pub(super) fn may_see(&self, reader: &str, at: usize) -> bool {
        let event = &self.events[at];
        if event["type"] == "m.room.member" && event["state_key"] == reader {
            // Events about the reader's own membership are always shown: a sync has to show each
            // invite, each rejection and each ban.
            return true;
        }
        if event["type"] == "m.room.history_visibility" {
            return [self.visibility(at), self.visibility(at + 1)]
                .iter()
                .any(|visibility| self.allows(visibility, reader, at));
        }
        self.allows(&self.visibility(at), reader, at)
    }

    fn allows(&self, visibility: &str, reader: &str, at: usize) -> bool {
        let membership = self.membership(reader, at + 1);
        visibility == "world_readable"
            || membership == "join"
            || (visibility == "shared" && self.joins_after(reader, at))
            || (visibility == "invited" && membership == "invite")
    }

    /// The history visibility before the event at `at`.
    pub(super) fn visibility(&self, at: usize) -> String {
        self.entry("m.room.history_visibility", "", at)
            .and_then(|event| self.events[event]["content"]["history_visibility"].as_str())
            .unwrap_or("shared")
            .to_owned()
    }

    /// The membership of a user before the event at `at`.
    pub(super) fn membership(&self, user: &str, at: usize) -> String {
        self.entry("m.room.member", user, at)
            .and_then(|event| self.events[event]["content"]["membership"].as_str())
            .unwrap_or("leave")
            .to_owned()
    }

    /// The membership of a user now.
    pub(super) fn present_membership(&self, user: &str) -> String {
        self.membership(user, self.events.len())
    }

    fn joins_after(&self, user: &str, at: usize) -> bool {
        (at..self.events.len()).any(|later| self.membership(user, later + 1) == "join")
    }

    fn entry(&self, kind: &str, key: &str, before: usize) -> Option<usize> {
        (0..before)
            .rfind(|at| self.events[*at]["type"] == kind && self.events[*at]["state_key"] == key)
    }

    /// The place of the last event of a user's membership.
    pub(super) fn last_member_event(&self, user: &str) -> Option<usize> {
        self.entry("m.room.member", user, self.events.len())
    }

    /// The state after the event at `at`.
    pub(super) fn state_after(&self, at: usize) -> State {
        let mut state = State::new();
        for (place, event) in self.events[..=at].iter().enumerate() {
            if let Some(key) = event["state_key"].as_str() {
                state.insert((text(&event["type"]), key.to_owned()), place);
            }
        }
        state
    }

    /// The event after which the state is the current state as far as `reader` may know it; `None`
    /// if they may know nothing.
    pub(super) fn present(&self, reader: &str) -> Option<usize> {
        let last = self.events.len() - 1;
        if self.present_membership(reader) == "join" || self.is_world_readable() {
            return Some(last);
        }
        self.departures(reader).last().copied().filter(|_| !self.forgotten.contains(reader))
    }

    /// Whether `reader` may see the state right after the event at `at`.
    ///
    /// Seeing the event is not enough: a declined invite and a ban are shown to the user concerned,
    /// and give no access to the room's state. Invited users see events if the history visibility
    /// allows it, but until they join, only the state that comes with the invite.
    pub(super) fn may_see_state(&self, reader: &str, at: usize) -> bool {
        if self.membership(reader, at + 1) == "join" || self.departures(reader).contains(&at) {
            return true;
        }
        let change = self.events[at]["type"] == "m.room.history_visibility";
        let after = change.then(|| self.visibility(at + 1));
        [self.visibility(at)].into_iter().chain(after).any(|visibility| {
            let is_invited = self.membership(reader, at + 1) == "invite";
            match visibility.as_str() {
                "world_readable" => true,
                "shared" => self.joins_after(reader, at),
                "invited" => is_invited && self.joins_after(reader, at),
                _ => false,
            }
        })
    }

    /// The event after which the state is what `reader` may know of the time right after the event
    /// at `at`. If they may not see the state there, it is that of when they had left, or of when
    /// they last joined; `None` if they were never in the room.
    pub(super) fn known_state(&self, reader: &str, at: usize) -> Option<usize> {
        if self.may_see_state(reader, at) {
            return Some(at);
        }
        let left = self.departures(reader).into_iter().rfind(|left| *left <= at);
        left.or_else(|| (at + 1..self.events.len()).find(|later| self.comes(reader, *later)))
    }

    /// The event after which the state is what `reader` is shown of the time right after the event
    /// at `at`, if they may see anything of the room.
    pub(super) fn present_at(&self, reader: &str, at: usize) -> Option<usize> {
        let present = self.present(reader)?;
        Some(self.known_state(reader, at).unwrap_or(present))
    }

    /// Whether anybody may read the room now.
    pub(super) fn is_world_readable(&self) -> bool {
        self.visibility(self.events.len()) == "world_readable"
    }

    /// Whether a user joined with the event at `at`.
    fn comes(&self, user: &str, at: usize) -> bool {
        self.membership(user, at) != "join" && self.membership(user, at + 1) == "join"
    }

    /// The events with which a user left.
    pub(super) fn departures(&self, user: &str) -> Vec<usize> {
        let leaves = |at: &usize| {
            self.membership(user, *at) == "join" && self.membership(user, at + 1) != "join"
        };
        (0..self.events.len()).filter(leaves).collect()
    }

    /// Whether a user was joined all the time since before the event at `from`.
    pub(super) fn stayed_since(&self, user: &str, from: usize) -> bool {
        (from..=self.events.len()).all(|at| self.membership(user, at) == "join")
    }

    /// The changes of each entry of the state from the event at `from` on.
    pub(super) fn changes(&self, from: usize) -> Vec<Vec<usize>> {
        let mut changes: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (at, event) in self.events.iter().enumerate().skip(from) {
            if let (Some(kind), Some(key)) = (event["type"].as_str(), event["state_key"].as_str()) {
                changes.entry((kind, key)).or_default().push(at);
            }
        }
        changes.into_values().collect()
    }

    /// Those of these events that a reader may see.
    pub(super) fn visible(
        &self,
        reader: &str,
        among: impl IntoIterator<Item = usize>,
    ) -> Vec<usize> {
        among.into_iter().filter(|at| self.may_see(reader, *at)).collect()
    }

    /// The places of events that were shown.
    pub(super) fn places(&self, shown: &Value) -> Vec<usize> {
        let shown = shown.as_array().unwrap_or_else(|| panic!("no events: {shown}"));
        let place = |event: &Value| {
            let known = |known: &Value| known["event_id"] == event["event_id"];
            self.events.iter().position(known).unwrap_or_else(|| panic!("unknown: {event}"))
        };
        shown.iter().map(place).collect()
    }

    /// The ID of the event at `at`.
    pub(super) fn id(&self, at: usize) -> String {
        text(&self.events[at]["event_id"])
    }
}

/// The text in a JSON value.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn member(user: &str, membership: &str) -> Value {
        json!({ "type": "m.room.member", "state_key": user, "content": { "membership": membership } })
    }

    fn visibility(visibility: &str) -> Value {
        let content = json!({ "history_visibility": visibility });
        json!({ "type": "m.room.history_visibility", "state_key": "", "content": content })
    }

    /// Which of the events `@a:x` may see, as digits.
    fn seen(events: &[Value]) -> String {
        let history = History { events: events.to_vec(), ..History::default() };
        let digit = |at| if history.may_see("@a:x", at) { '1' } else { '0' };
        (0..events.len()).map(digit).collect()
    }

    #[test]
    fn the_examples_of_the_specification() {
        let message = || json!({ "type": "m.room.message" });
        let (join, invite, leave) =
            (member("@a:x", "join"), member("@a:x", "invite"), member("@a:x", "leave"));
        assert_eq!(seen(&[message(), join.clone(), message()]), "111", "shared by default");
        let from = |name: &str| {
            let course = [
                visibility(name),
                message(),
                invite.clone(),
                message(),
                join.clone(),
                message(),
                leave.clone(),
                message(),
            ];
            seen(&course)[1..].to_owned()
        };
        assert_eq!(from("joined"), "0101110");
        assert_eq!(from("invited"), "0111110");
        assert_eq!(from("shared"), "1111110");
        assert_eq!(from("world_readable"), "1111111");
        let open = visibility("world_readable");
        let closed = [open, message(), visibility("joined"), message()];
        assert_eq!(seen(&closed), "1110", "a change is seen from either side");
    }

    /// After which events `@a:x` may see the state, as digits.
    fn known(events: &[Value]) -> String {
        let history = History { events: events.to_vec(), ..History::default() };
        let digit = |at| if history.may_see_state("@a:x", at) { '1' } else { '0' };
        (0..events.len()).map(digit).collect()
    }

    #[test]
    fn seeing_an_event_does_not_show_the_state() {
        let (join, invite, leave) =
            (member("@a:x", "join"), member("@a:x", "invite"), member("@a:x", "leave"));
        let (knock, ban) = (member("@a:x", "knock"), member("@a:x", "ban"));
        let message = json!({ "type": "m.room.message" });
        for name in ["joined", "invited", "shared"] {
            for course in [[&invite, &leave], [&knock, &leave], [&leave, &ban], [&invite, &ban]] {
                let course = [visibility(name), course[0].clone(), course[1].clone()];
                assert_eq!(known(&course)[1..], *"00", "{name} {course:?}");
            }
        }
        let course = [visibility("joined"), join.clone(), leave.clone(), ban.clone()];
        assert_eq!(known(&course)[1..], *"110", "as it was when they left");
        let course = [visibility("invited"), message, invite, join];
        assert_eq!(known(&course)[1..], *"011");
    }
}
