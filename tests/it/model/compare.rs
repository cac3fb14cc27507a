//! A client that synced incrementally has what a new one gets at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    client::{Client, Room, Section},
    events::{entry, id, is_same, list, plain, plain_state, redacted_content},
};

/// Compares `held` with `new`, which has just made an initial sync with the same filter. Returns
/// the differences.
pub(super) async fn differences(held: &Client, new: &Client) -> Vec<String> {
    let mut found = Differences(Vec::new());
    found.equal("account data", &held.account_data, &new.account_data);
    let shown = |client: &Client| -> BTreeMap<String, Section> {
        let shown = client.rooms.iter();
        let shown = shown
            .filter(|(_, room)| room.section != Section::Leave || client.wishes.includes_left());
        shown.map(|(id, room)| (id.clone(), room.section)).collect()
    };
    found.equal("sections", &shown(held), &shown(new));
    for (room_id, new_room) in &new.rooms {
        let Some(room) = held.rooms.get(room_id).filter(|room| room.section == new_room.section)
        else {
            continue;
        };
        let mut of_room = Differences(Vec::new());
        if room.section == Section::Invite {
            let given = list(&new_room.invite_state);
            let mut held = list(&room.invite_state).to_vec();
            for (held, given) in held.iter_mut().zip(given) {
                // Users who are only invited are not sent redactions.
                if given["content"] == redacted_content(held) {
                    held.clone_from(given);
                }
            }
            of_room.equal("invite state", &held[..], given);
        } else {
            of_room.state(held, room, new_room);
            of_room.timeline(new, room_id, room, new_room).await;
            of_room.beside(room, new_room);
        }
        found.0.extend(of_room.0.into_iter().map(|what| format!("{room_id}: {what}")));
    }
    found.0
}

struct Differences(Vec<String>);

impl Differences {
    fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(&mut self, what: &str, held: &T, given: &T) {
        if held != given {
            self.0.push(format!("{what}: held {held:?}, given {given:?}"));
        }
    }

    /// Receipts, account data and the summary.
    fn beside(&mut self, room: &Room, new: &Room) {
        self.equal("account data", &room.account_data, &new.account_data);
        if room.section == Section::Leave {
            return;
        }
        self.equal("receipts", &room.receipts, &new.receipts);
        for (name, given) in &new.summary {
            self.equal(name, room.summary.get(name).unwrap_or(&Value::Null), given);
        }
    }

    fn state(&mut self, client: &Client, room: &Room, new: &Room) {
        if !was_in(room) {
            // The user knows only what they were shown.
            return;
        }
        let has_left = room.section == Section::Leave;
        let mut keys: BTreeSet<_> = room.state.keys().chain(new.state.keys()).collect();
        if has_left {
            // Which changes after a user's leaving they are sent depends on the timeline.
            let late = shown_outside(room).chain(shown_outside(new));
            let late: BTreeSet<_> = late.filter_map(entry).collect();
            keys.retain(|key| !late.contains(key));
        }
        for key in keys {
            if !client.wishes.wants_state(&key.0) {
                continue;
            }
            let may_be_withheld = client.wishes.is_lazy() && key.0 == "m.room.member";
            match (room.state.get(key), new.state.get(key)) {
                (Some(held), Some(given)) => {
                    let (held, given) = (plain_state(held), plain_state(given));
                    if !is_same(&held, &given, has_left) {
                        self.0.push(format!("state {key:?}: held {held}, given {given}"));
                    }
                }
                // The members who sent the events shown are not withheld.
                (None, Some(given))
                    if !may_be_withheld
                        || (sends(new, &key.1) && !room.past_members.contains(&key.1)) =>
                {
                    self.0.push(format!("state {key:?}: held nothing, given {given}"));
                }
                (Some(held), None) if !may_be_withheld => {
                    self.0.push(format!("state {key:?}: held {held}, given nothing"));
                }
                _ => {}
            }
        }
    }

    async fn timeline(&mut self, client: &Client, room_id: &str, room: &Room, new: &Room) {
        let mut given = new.timeline.clone();
        let mut held = &room.timeline[..];
        let mut from = new.start.clone();
        while given.len() < held.len()
            && let Some(token) = from.take()
        {
            let page = client.page(room_id, &token).await;
            if page.is_null() {
                break;
            }
            given.splice(0..0, list(&page["chunk"]).iter().rev().map(plain));
            from = page["end"].as_str().map(str::to_owned);
        }
        let mut depth = held.len().max(client.wishes.limit());
        if !was_in(room) {
            // A user who was never in the room fills no gap. They are sent the event that ended
            // their invite or knock.
            depth = held.len().min(given.len()).min(1);
            held = &held[held.len() - depth..];
        }
        given.drain(..given.len().saturating_sub(depth));
        let ids = |events: &[Value]| events.iter().map(id).map(str::to_owned).collect::<Vec<_>>();
        if ids(held) != ids(&given) {
            let brief = |events: &[Value]| events.iter().map(brief).collect::<Vec<_>>();
            self.equal("timeline", &brief(held), &brief(&given));
            return;
        }
        let has_left = room.section == Section::Leave;
        for (held, given) in held.iter().zip(&given) {
            if !is_same(held, given, has_left) {
                self.0.push(format!("event: held {held}, given {given}"));
            }
        }
    }
}

/// The events that the user was shown although they were not in the room at the time.
fn shown_outside(room: &Room) -> impl Iterator<Item = &Value> {
    room.timeline.iter().filter(|event| event["unsigned"]["membership"] != "join")
}

/// Whether the user was ever in the room, as far as the client knows.
fn was_in(room: &Room) -> bool {
    room.section == Section::Join || room.state.keys().any(|(kind, _)| kind == "m.room.create")
}

/// Whether a user has sent one of the newest events.
fn sends(new: &Room, user: &str) -> bool {
    new.timeline.iter().any(|event| event["sender"] == user)
}

fn brief(event: &Value) -> String {
    let content = &event["content"];
    let what = content["body"].as_str().or(content["membership"].as_str());
    format!("{}:{}:{}", id(event), event["type"], what.unwrap_or_default())
}
