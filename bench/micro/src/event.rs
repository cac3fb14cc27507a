//! One event: built, parsed, and authorized.

use std::collections::HashMap;

use divan::{Bencher, black_box};
use ruma::{
    CanonicalJsonObject, RoomVersionId,
    canonical_json::to_canonical_value,
    events::StateEventType,
    room_version_rules::RoomVersionRules,
    signatures::{Ed25519KeyPair, hash_and_sign_event},
    state_res::check_state_dependent_auth_rules,
};
use serde_json::{Value, json};
use stoa_rooms::pdu::Pdu;

const ALICE: &str = "@alice:test";

/// A server that makes events of one room.
struct Server {
    rules: RoomVersionRules,
    key: Ed25519KeyPair,
}

impl Server {
    fn new() -> Self {
        let key = Ed25519KeyPair::from_der(&Ed25519KeyPair::generate(), "a_1".to_owned());
        let rules = RoomVersionId::V11.rules().expect("the rules of a known version");
        Self { rules, key: key.expect("the key just made") }
    }

    fn build(&self, event: &CanonicalJsonObject) -> Pdu {
        let mut event = event.clone();
        hash_and_sign_event("test", &self.key, &mut event, &self.rules.redaction)
            .expect("an event can be signed");
        Pdu::from_canonical(&event, &self.rules).expect("a valid event")
    }
}

fn event(kind: &str, state_key: Option<&str>, content: &Value) -> CanonicalJsonObject {
    let ids = |count: u8| -> Vec<String> {
        (0..count).map(|id| format!("${}", char::from(b'a' + id).to_string().repeat(43))).collect()
    };
    let mut event = json!({
        "room_id": "!room:test", "sender": ALICE, "type": kind, "content": content, "depth": 7,
        "origin_server_ts": 1_700_000_000_000_u64, "prev_events": ids(1), "auth_events": ids(3),
    });
    if let Some(state_key) = state_key {
        event["state_key"] = state_key.into();
    }
    let event = to_canonical_value(event).expect("canonical JSON");
    event.as_object().expect("an object").clone()
}

fn message() -> CanonicalJsonObject {
    let body = "Lunch at the usual place, twelve o'clock?";
    event("m.room.message", None, &json!({ "msgtype": "m.text", "body": body }))
}

/// Hashed, signed, named and parsed, as each event that a client sends.
#[divan::bench]
fn build(bencher: Bencher<'_, '_>) {
    let (server, message) = (Server::new(), message());
    bencher.bench(|| server.build(black_box(&message)));
}

/// Parsed, as each event that comes from the database.
#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let server = Server::new();
    let pdu = server.build(&message());
    bencher.bench(|| {
        Pdu::from_stored(pdu.event_id.clone(), black_box(pdu.json()), &server.rules)
            .expect("what was written")
    });
}

/// Authorized by the state that decides about it.
#[divan::bench]
fn authorize(bencher: Bencher<'_, '_>) {
    let server = Server::new();
    let state: HashMap<StateEventType, Pdu> = [
        ("m.room.create", "", json!({ "room_version": "11" })),
        ("m.room.member", ALICE, json!({ "membership": "join" })),
        ("m.room.power_levels", "", json!({ "users": { ALICE: 100 }, "users_default": 0 })),
    ]
    .into_iter()
    .map(|(kind, key, content)| (kind.into(), server.build(&event(kind, Some(key), &content))))
    .collect();
    let message = server.build(&message());
    bencher.bench(|| {
        let rules = &server.rules.authorization;
        check_state_dependent_auth_rules(rules, black_box(&message), |kind, _| state.get(kind))
            .expect("an event that is allowed");
    });
}
