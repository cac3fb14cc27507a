//! Users who chat in shared rooms over several nodes, and check what arrived.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use stoa_testing::{TestServer, encode, in_room};

use super::{
    call::{Answer, Call},
    process::Process,
};

const USERS: usize = 20;
const ROOMS: usize = 4;
const MESSAGES: usize = 2_000;

/// How long a client waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a sync may wait for news: less than that.
const POLL_MS: u64 = 1_000;

/// One in this many messages is sent through two nodes at once, as by a client that gave up too
/// early.
const IMPATIENT: usize = 7;

/// How often something is tried before the nodes count as gone.
const TRIES: usize = 100;

/// A node of the deployment.
pub(super) enum Node {
    Process(Box<Process>),
    InProcess(TestServer),
}

impl Node {
    async fn call(&self, call: &Call<'_>) -> Option<Answer> {
        let server = match self {
            Self::Process(process) => return process.call(call).await,
            Self::InProcess(server) => server,
        };
        let client = call.token.map_or(server.client(), |token| server.client().with_token(token));
        let mut request = client.request(call.method.clone(), &call.path);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = request.send().await;
        Some(Answer { status: answer.status.as_u16(), body: answer.json() })
    }
}

/// The deployment, and how far the chat is.
pub(super) struct Chat<'a> {
    nodes: &'a [Node],
    sent: Cell<usize>,
    repeated: Cell<usize>,
}

struct User {
    token: String,
    /// The messages that were acknowledged, with their rooms.
    acknowledged: Vec<(String, String)>,
    /// By room, all received messages, in their order.
    received: BTreeMap<String, Vec<(String, String)>>,
    since: Option<String>,
}

impl<'a> Chat<'a> {
    pub(super) fn new(nodes: &'a [Node]) -> Self {
        Self { nodes, sent: Cell::new(0), repeated: Cell::new(0) }
    }

    /// Returns when this share of all messages, in percent, has been sent.
    pub(super) async fn share_is_sent(&self, percent: usize) {
        while self.sent.get() * 100 < MESSAGES * percent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many requests were not answered, and so were sent again to another node.
    pub(super) fn repeated(&self) -> usize {
        self.repeated.get()
    }

    /// Sends all messages and receives them, and checks that each came once to everybody, in one
    /// order.
    pub(super) async fn run(&self) {
        let mut users = Vec::new();
        for index in 0..USERS {
            users.push(self.register(index).await);
        }
        let rooms = self.make_rooms(&users).await;
        let (users, rooms) = (users.into_iter().enumerate(), &rooms);
        let users = join_all(users.map(|(index, user)| self.take_part(index, user, rooms))).await;
        check(&users, rooms);
    }

    async fn register(&self, index: usize) -> User {
        let body = json!({
            "auth": { "type": "m.login.dummy" },
            "username": format!("user{index}"),
            "password": "correct horse battery staple",
        });
        let session =
            self.insist(index, Method::POST, "/_matrix/client/v3/register", None, Some(body)).await;
        let token = session["access_token"].as_str().unwrap().to_owned();
        User { token, acknowledged: Vec::new(), received: BTreeMap::new(), since: None }
    }

    async fn make_rooms(&self, users: &[User]) -> Vec<String> {
        let mut rooms = Vec::new();
        for (index, user) in users.iter().take(ROOMS).enumerate() {
            let creator = Some(user.token.as_str());
            let body = Some(json!({ "preset": "public_chat" }));
            let path = "/_matrix/client/v3/createRoom";
            let created = self.insist(index, Method::POST, path, creator, body).await;
            rooms.push(created["room_id"].as_str().unwrap().to_owned());
        }
        for (index, user) in users.iter().enumerate() {
            for room in &rooms {
                let path = in_room(room, "join");
                let token = Some(user.token.as_str());
                // Half of the time through the node that did not create the room.
                self.insist(index + 1, Method::POST, &path, token, Some(json!({}))).await;
            }
        }
        rooms
    }

    async fn take_part(&self, index: usize, user: User, rooms: &[String]) -> User {
        let User { token, .. } = user;
        let is_done = Cell::new(false);
        let sending = async {
            let acknowledged = self.send_all(index, &token, rooms).await;
            is_done.set(true);
            acknowledged
        };
        let (acknowledged, mut received) =
            tokio::join!(sending, self.receive(index, &token, &is_done));
        received.acknowledged = acknowledged;
        received
    }

    async fn send_all(&self, index: usize, token: &str, rooms: &[String]) -> Vec<(String, String)> {
        let mut acknowledged = Vec::new();
        for number in 0..MESSAGES / USERS {
            let room = &rooms[(index + number) % rooms.len()];
            let path = in_room(room, &format!("send/m.room.message/{number}"));
            let content = json!({ "msgtype": "m.text", "body": format!("{index}/{number}") });
            let send =
                |node| self.insist(node, Method::PUT, &path, Some(token), Some(content.clone()));
            let node = index + number;
            let sent = if number % IMPATIENT == 0 {
                let (sent, again) = tokio::join!(send(node), send(node + 1));
                assert_eq!(sent, again, "one transaction is two events");
                sent
            } else {
                send(node).await
            };
            acknowledged.push((room.clone(), sent["event_id"].as_str().unwrap().to_owned()));
            self.sent.set(self.sent.get() + 1);
        }
        acknowledged
    }

    /// Syncs through all nodes in turn until everybody has sent everything and nothing is new.
    async fn receive(&self, index: usize, token: &str, is_done: &Cell<bool>) -> User {
        let (acknowledged, received) = Default::default();
        let mut user = User { token: token.to_owned(), acknowledged, received, since: None };
        for turn in 0.. {
            let is_last = is_done.get() && self.sent.get() == MESSAGES;
            let answer = self.sync(index + turn, &user, is_last).await;
            user.since = Some(answer["next_batch"].as_str().unwrap().to_owned());
            let Some(rooms) = answer["rooms"]["join"].as_object() else {
                if is_last {
                    break;
                }
                continue;
            };
            for (room, news) in rooms {
                assert_eq!(news["timeline"]["limited"], false, "{news}");
                let received = user.received.entry(room.clone()).or_default();
                for event in news["timeline"]["events"].as_array().unwrap() {
                    if let Some(body) = event["content"]["body"].as_str() {
                        let id = event["event_id"].as_str().unwrap();
                        received.push((id.to_owned(), body.to_owned()));
                    }
                }
            }
        }
        user
    }

    async fn sync(&self, node: usize, user: &User, is_last: bool) -> Value {
        let limit = MESSAGES + 1_000;
        let filter = json!({ "room": { "timeline": { "limit": limit } } }).to_string();
        let timeout = if is_last { 0 } else { POLL_MS };
        let mut path =
            format!("/_matrix/client/v3/sync?timeout={timeout}&filter={}", encode(&filter));
        if let Some(since) = &user.since {
            path.push_str(&format!("&since={since}"));
        }
        self.insist(node, Method::GET, &path, Some(&user.token), None).await
    }

    /// Asks one node after the other, beginning with `node`, until one answers.
    async fn insist(
        &self,
        node: usize,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Value {
        let call = Call { method, path: path.to_owned(), token, body };
        for attempt in 0..TRIES {
            let node = &self.nodes[(node + attempt) % self.nodes.len()];
            match tokio::time::timeout(PATIENCE, node.call(&call)).await {
                Ok(Some(answer)) if answer.status == 200 => return answer.body,
                // A node that loses its database for a moment answers 503.
                Ok(Some(answer)) if answer.status < 500 => {
                    panic!("{} {path}: {} {}", call.method, answer.status, answer.body)
                }
                _ => {
                    self.repeated.set(self.repeated.get() + 1);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        panic!("{} {path} was never answered", call.method)
    }
}

/// Checks that everybody has received every acknowledged message once, and all in one order.
fn check(users: &[User], rooms: &[String]) {
    let acknowledged: BTreeSet<_> = users.iter().flat_map(|user| &user.acknowledged).collect();
    assert_eq!(acknowledged.len(), MESSAGES, "two messages have one ID");
    for room in rooms {
        let order = &users[0].received[room];
        let ids: BTreeSet<&str> = order.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids.len(), order.len(), "a message came twice");
        let bodies: BTreeSet<&str> = order.iter().map(|(_, body)| body.as_str()).collect();
        assert_eq!(bodies.len(), order.len(), "a message was sent twice");
        let sent = acknowledged.iter().filter(|(of, _)| of == room).map(|(_, id)| id.as_str());
        assert_eq!(ids, sent.collect(), "what came is not what was acknowledged");
        for user in users {
            assert_eq!(&user.received[room], order, "the order is not one");
        }
    }
}
