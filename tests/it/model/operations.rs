//! What users do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stoa_testing::{TestClient, encode, in_room};

use super::client::Device;
use crate::dice::Dice;

/// How many rooms there are at most.
const ROOMS: usize = 6;

/// The users, and the rooms and events that they act on.
pub(super) struct World {
    users: Vec<(String, Device)>,
    rooms: Vec<Room>,
    step: usize,
}

struct Room {
    id: String,
    creator: usize,
    /// Who is in the room.
    members: BTreeSet<usize>,
    /// The events that can be redacted, replied to and read.
    events: Vec<String>,
}

/// A description of everything done so far.
pub(super) struct Done {
    pub(super) what: String,
    /// A user who has forgotten a room.
    pub(super) forgotten: Option<(usize, String)>,
    /// A user whose membership of a room has changed.
    pub(super) moved: Option<(usize, String)>,
}

impl World {
    pub(super) fn new(users: Vec<(String, Device)>) -> Self {
        Self { users, rooms: Vec::new(), step: 0 }
    }

    /// Lets a user do something at random. Being refused because of missing permissions is no
    /// failure.
    pub(super) async fn step(&mut self, dice: &Dice) -> Done {
        self.step += 1;
        let user = dice.below(self.users.len());
        if self.rooms.len() < 2 || (self.rooms.len() < ROOMS && dice.chance(4)) {
            return self.create(dice, user).await;
        }
        let room = dice.below(self.rooms.len());
        let members: Vec<usize> = self.rooms[room].members.iter().copied().collect();
        // Now and then a user tries who is not in the room.
        let member =
            if members.is_empty() || dice.chance(10) { user } else { *dice.pick(&members) };
        match dice.below(100) {
            0..26 => self.send(dice, member, room).await,
            26..38 => self.set_state(dice, member, room).await,
            38..66 => self.move_somebody(dice, user, room).await,
            66..72 => self.redact(dice, member, room).await,
            72..84 => self.read(dice, member, room).await,
            84..90 => self.set_account_data(dice, member, room).await,
            90..95 => self.rename(dice, user).await,
            _ => self.forget(dice, user, room).await,
        }
    }

    fn client(&self, dice: &Dice, user: usize) -> &TestClient {
        self.users[user].1.on_any(dice)
    }

    fn path(&self, room: usize, rest: &str) -> String {
        in_room(&self.rooms[room].id, rest)
    }

    async fn create(&mut self, dice: &Dice, user: usize) -> Done {
        let preset = *dice.pick(&["public_chat", "private_chat", "trusted_private_chat"]);
        let mut request = json!({
            "preset": preset,
            "power_level_content_override": {
                "state_default": 0, "redact": 0, "invite": 0,
                "events": { "m.room.history_visibility": 0, "m.room.name": 0 },
            },
        });
        if dice.chance(50) {
            request["name"] = json!(format!("room {}", self.step));
        }
        if dice.chance(50) {
            request["invite"] = json!([dice.pick(&self.users).0]);
        }
        let created = self.client(dice, user).post("/_matrix/client/v3/createRoom", request).await;
        let what = format!("{} creates a {preset}", self.users[user].0);
        if accepted(&created) {
            let id = created.json()["room_id"].as_str().unwrap().to_owned();
            let members = BTreeSet::from([user]);
            self.rooms.push(Room { id, creator: user, members, events: Vec::new() });
        }
        done(what, created.status == 200)
    }

    async fn send(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        let body = format!("message {}", self.step);
        let content = json!({ "msgtype": "m.text", "body": body });
        let rest = format!("send/m.room.message/t{}", self.step);
        self.put_event(dice, user, room, &rest, content).await
    }

    async fn set_state(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        let value = self.step;
        let (entry, content) = match dice.below(6) {
            0 => ("m.room.name/", json!({ "name": format!("name {value}") })),
            1 => ("m.room.topic/", json!({ "topic": format!("topic {value}") })),
            2 => {
                let visibility = *dice.pick(&["joined", "invited", "shared", "world_readable"]);
                ("m.room.history_visibility/", json!({ "history_visibility": visibility }))
            }
            3 => ("m.test/", json!({ "value": value })),
            4 => ("m.test/a", json!({ "value": value })),
            _ => ("m.test/b", json!({ "value": value })),
        };
        self.put_event(dice, user, room, &format!("state/{entry}"), content).await
    }

    async fn put_event(
        &mut self,
        dice: &Dice,
        user: usize,
        room: usize,
        rest: &str,
        content: Value,
    ) -> Done {
        let what = format!("{} puts {rest} {content} in {room}", self.users[user].0);
        let answer = self.client(dice, user).put(&self.path(room, rest), content).await;
        let is_done = accepted(&answer);
        if is_done && !rest.contains("history_visibility") {
            let event = answer.json()["event_id"].as_str().unwrap().to_owned();
            self.rooms[room].events.push(event);
        }
        done(what, is_done)
    }

    async fn move_somebody(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        let action = *dice.pick(&[
            "join", "join", "join", "join", "invite", "invite", "leave", "leave", "kick", "ban",
            "unban",
        ]);
        let is_own = ["join", "leave"].contains(&action);
        let actor = if !is_own && dice.chance(80) { self.rooms[room].creator } else { user };
        let target = if is_own { user } else { dice.below(self.users.len()) };
        let body = if is_own { json!({}) } else { json!({ "user_id": self.users[target].0 }) };
        let answer = self.client(dice, actor).post(&self.path(room, action), body.clone()).await;
        let is_done = accepted(&answer);
        if is_done && action == "join" {
            self.rooms[room].members.insert(target);
        } else if is_done && action != "invite" {
            self.rooms[room].members.remove(&target);
        }
        let what = format!("{}: {action} {body} in {room}", self.users[actor].0);
        let moved = is_done.then(|| (target, self.rooms[room].id.clone()));
        Done { moved, ..done(what, is_done) }
    }

    async fn redact(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        if self.rooms[room].events.is_empty() {
            return done("nothing to redact".to_owned(), false);
        }
        let which = dice.below(self.rooms[room].events.len());
        let event = self.rooms[room].events[which].clone();
        let path = self.path(room, &format!("redact/{}/t{}", encode(&event), self.step));
        let answer = self.client(dice, user).put(&path, json!({})).await;
        if accepted(&answer) {
            // A second redaction would change nothing but who has redacted.
            self.rooms[room].events.remove(which);
        }
        done(format!("{} redacts {event} in {room}", self.users[user].0), accepted(&answer))
    }

    async fn read(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        let events = &self.rooms[room].events;
        if events.is_empty() {
            return done("nothing to read".to_owned(), false);
        }
        let event = dice.pick(events).clone();
        let thread = match dice.below(3) {
            0 => json!({}),
            1 => json!({ "thread_id": "main" }),
            _ => json!({ "thread_id": dice.pick(events) }),
        };
        let kind = *dice.pick(&["m.read", "m.read", "m.read.private", "m.fully_read"]);
        let body = if kind == "m.fully_read" { json!({}) } else { thread };
        let what = format!("{} has read {event} {kind} {body} in {room}", self.users[user].0);
        let path = self.path(room, &format!("receipt/{kind}/{}", encode(&event)));
        let answer = self.client(dice, user).post(&path, body).await;
        done(what, accepted(&answer))
    }

    async fn set_account_data(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        let user_id = &self.users[user].0;
        let kind = *dice.pick(&["m.some", "m.other"]);
        let place = format!("/_matrix/client/v3/user/{}", encode(user_id));
        let path = if dice.chance(50) && self.is_in(dice, user, room).await {
            let room = encode(&self.rooms[room].id);
            format!("{place}/rooms/{room}/account_data/{kind}")
        } else {
            format!("{place}/account_data/{kind}")
        };
        let value = json!({ "value": self.step });
        let answer = self.client(dice, user).put(&path, value).await;
        done(format!("{user_id} sets {path}"), accepted(&answer))
    }

    async fn is_in(&self, dice: &Dice, user: usize, room: usize) -> bool {
        let joined = self.client(dice, user).get("/_matrix/client/v3/joined_rooms").await.ok();
        joined["joined_rooms"].as_array().unwrap().iter().any(|id| *id == self.rooms[room].id)
    }

    async fn rename(&mut self, dice: &Dice, user: usize) -> Done {
        let user_id = &self.users[user].0;
        let path = format!("/_matrix/client/v3/profile/{}/displayname", encode(user_id));
        let name = json!({ "displayname": format!("name {}", self.step) });
        let answer = self.client(dice, user).put(&path, name).await;
        done(format!("{user_id} is called otherwise"), accepted(&answer))
    }

    async fn forget(&mut self, dice: &Dice, user: usize, room: usize) -> Done {
        let answer = self.client(dice, user).post(&self.path(room, "forget"), json!({})).await;
        let is_done = accepted(&answer);
        let what = format!("{} forgets {room}", self.users[user].0);
        let forgotten = is_done.then(|| (user, self.rooms[room].id.clone()));
        Done { forgotten, ..done(what, is_done) }
    }
}

fn done(what: String, is_done: bool) -> Done {
    let what = if is_done { what } else { format!("({what}: refused)") };
    Done { what, forgotten: None, moved: None }
}

/// Whether the request succeeded; a refusal must have an expected reason.
fn accepted(answer: &stoa_testing::TestResponse) -> bool {
    assert!(!answer.status.is_server_error(), "{} {}", answer.status, answer.json());
    answer.status == 200
}
