//! A room with a random history, and its readers.

use serde_json::{Value, json};
use stoa_testing::{TestClient, TestServer, encode, in_room};

use super::oracle::{History, text};
use crate::dice::Dice;

const VISIBILITIES: [&str; 4] = ["joined", "invited", "shared", "world_readable"];

/// A room, its history, and its readers.
pub(super) struct Scene {
    pub(super) room: String,
    pub(super) history: History,
    /// The room's creator, who sees everything.
    pub(super) creator: TestClient,
    /// All users, including those who were never in the room.
    pub(super) readers: Vec<Reader>,
    /// What was done, to be shown when a check fails.
    pub(super) course: Vec<String>,
}

/// A reader.
pub(super) struct Reader {
    pub(super) client: TestClient,
    /// Tokens of syncs, each with how many events the room had.
    pub(super) tokens: Vec<(usize, String)>,
}

impl Reader {
    pub(super) fn id(&self) -> &str {
        &self.client.user_id
    }
}

impl Scene {
    /// Creates a room and does `steps` things in it.
    pub(super) async fn play(server: &TestServer, dice: &Dice, steps: usize) -> Self {
        let creator = server.register("alice").await;
        let request = json!({ "preset": "public_chat", "visibility": "public", "name": "start" });
        let room = creator.create_room(request).await;
        let mut readers = vec![Reader { client: creator.clone(), tokens: Vec::new() }];
        for name in ["bob", "carol", "dave", "erin", "stranger"] {
            readers.push(Reader { client: server.register(name).await, tokens: Vec::new() });
        }
        let events = read(&creator, &room).await;
        let mut history = History { events, ..History::default() };
        let mut course = Vec::new();
        for step in 0..steps {
            let reader = &readers[dice.below(readers.len())];
            if dice.chance(20) {
                let known = reader.client.get("/_matrix/client/v3/sync").await.ok();
                let token = (history.events.len(), text(&known["next_batch"]));
                let id = reader.id().to_owned();
                readers.iter_mut().find(|reader| reader.id() == id).unwrap().tokens.push(token);
            }
            course.push(happen(&creator, &readers[1..5], &room, &history, dice, step).await);
            history.events = read(&creator, &room).await;
        }
        // The last of the users whose membership changes forgets the room, if they are out of it.
        let forgetful = readers[4].id();
        if ["leave", "ban"].contains(&history.present_membership(forgetful).as_str())
            && history.last_member_event(forgetful).is_some()
        {
            readers[4].client.post(&in_room(&room, "forget"), json!({})).await.ok();
            history.forgotten.insert(forgetful.to_owned());
        }
        Self { room, history, creator, readers, course }
    }

    pub(super) fn path(&self, rest: &str) -> String {
        in_room(&self.room, rest)
    }

    pub(super) fn path_of(&self, what: &str, at: usize) -> String {
        self.path(&format!("{what}/{}", encode(&self.history.id(at))))
    }
}

/// Does one thing, and returns a description of it.
async fn happen(
    creator: &TestClient,
    movers: &[Reader],
    room: &str,
    history: &History,
    dice: &Dice,
    step: usize,
) -> String {
    match dice.below(10) {
        0..3 => {
            creator.send(room, &format!("message {step}")).await;
            "message".to_owned()
        }
        3 => {
            let name = json!({ "name": format!("name {step}") });
            creator.set_state(room, "m.room.name", "", name).await;
            "name".to_owned()
        }
        4..6 => {
            let visibility = *dice.pick(&VISIBILITIES);
            let content = json!({ "history_visibility": visibility });
            creator.set_state(room, "m.room.history_visibility", "", content).await;
            visibility.to_owned()
        }
        _ => {
            let mover = &dice.pick(movers).client;
            let membership = history.present_membership(&mover.user_id);
            let actions: &[&str] = match membership.as_str() {
                "join" => &["leave", "leave", "kick", "ban", "rename"],
                "invite" => &["join", "leave", "kick", "ban"],
                "ban" => &["unban"],
                _ => &["join", "invite", "join", "invite", "ban"],
            };
            let action = *dice.pick(actions);
            change_membership(creator, mover, room, action, step).await;
            format!("{action} {}", mover.user_id)
        }
    }
}

async fn change_membership(
    creator: &TestClient,
    mover: &TestClient,
    room: &str,
    action: &str,
    step: usize,
) {
    match action {
        "join" | "leave" => mover.post(&in_room(room, action), json!({})).await.ok(),
        "rename" => {
            let content = json!({ "membership": "join", "displayname": format!("name {step}") });
            mover.set_state(room, "m.room.member", &mover.user_id, content).await;
            Value::Null
        }
        by_other => {
            let body = json!({ "user_id": mover.user_id });
            creator.post(&in_room(room, by_other), body).await.ok()
        }
    };
}

/// All events of a room, as a user reads them who was always in it.
async fn read(client: &TestClient, room: &str) -> Vec<Value> {
    let page = client.get(&in_room(room, "messages?dir=f&limit=1000")).await.ok();
    page["chunk"].as_array().unwrap().clone()
}
