//! The state of a room and its members.

use std::collections::BTreeSet;

use serde_json::Value;
use stoa_testing::encode;

use crate::visibility::{
    oracle::text,
    scene::{Reader, Scene},
};

/// The events of the state after the event at `at`, or of its members alone.
fn state_after(scene: &Scene, at: usize, members_only: bool) -> BTreeSet<usize> {
    let state = scene.history.state_after(at).into_iter();
    let wanted = state.filter(|((kind, _), _)| !members_only || kind == "m.room.member");
    wanted.map(|(_, at)| at).collect()
}

/// Checks that these events are the state after the event at `at`.
pub(super) fn assert_is_state(scene: &Scene, events: &Value, at: usize) {
    let shown: BTreeSet<usize> = scene.history.places(events).into_iter().collect();
    assert_eq!(shown, state_after(scene, at, false), "the state after {at}");
}

pub(super) async fn state(scene: &Scene, reader: &Reader) {
    let answer = reader.client.get(&scene.path("state")).await;
    match scene.history.present(reader.id()) {
        None => answer.refused(403, "M_FORBIDDEN"),
        Some(at) => assert_is_state(scene, &answer.ok(), at),
    }
}

pub(super) async fn entry(scene: &Scene, reader: &Reader) {
    let history = &scene.history;
    let all = history.state_after(history.events.len() - 1).into_keys();
    let present = history.present(reader.id()).map(|at| history.state_after(at));
    for (kind, key) in all {
        let path = scene.path(&format!("state/{kind}/{}", encode(&key)));
        let content = reader.client.get(&path).await;
        let event = reader.client.get(&format!("{path}?format=event")).await;
        match present.as_ref().map(|state| state.get(&(kind, key))) {
            None => {
                content.refused(403, "M_FORBIDDEN");
                event.refused(403, "M_FORBIDDEN");
            }
            Some(None) => {
                content.refused(404, "M_NOT_FOUND");
                event.refused(404, "M_NOT_FOUND");
            }
            Some(Some(at)) => {
                assert_eq!(content.ok(), history.events[*at]["content"]);
                assert_eq!(event.ok()["event_id"], history.id(*at));
            }
        }
    }
}

pub(super) async fn keyless_entry(scene: &Scene, reader: &Reader) {
    let answer = reader.client.get(&scene.path("state/m.room.name")).await;
    let named = ("m.room.name".to_owned(), String::new());
    match scene.history.present(reader.id()) {
        None => answer.refused(403, "M_FORBIDDEN"),
        Some(at) => {
            let name = scene.history.state_after(at)[&named];
            assert_eq!(answer.ok(), scene.history.events[name]["content"]);
        }
    }
}

pub(super) async fn members(scene: &Scene, reader: &Reader) {
    let history = &scene.history;
    let now = reader.client.get(&scene.path("members")).await;
    match history.present(reader.id()) {
        None => now.refused(403, "M_FORBIDDEN"),
        Some(at) => assert_eq!(shown(scene, &now.ok()), state_after(scene, at, true)),
    }
    for at in 0..history.events.len() {
        let around = format!("{}?limit=0", scene.path_of("context", at));
        let token = text(&scene.creator.get(&around).await.ok()["end"]);
        let then = format!("members?at={}", encode(&token));
        let then = reader.client.get(&scene.path(&then)).await;
        match history.present_at(reader.id(), at) {
            None => then.refused(403, "M_FORBIDDEN"),
            Some(known) => {
                assert_eq!(shown(scene, &then.ok()), state_after(scene, known, true), "at {at}");
            }
        }
    }
}

fn shown(scene: &Scene, answer: &Value) -> BTreeSet<usize> {
    scene.history.places(&answer["chunk"]).into_iter().collect()
}

pub(super) async fn joined_members(scene: &Scene, reader: &Reader) {
    let history = &scene.history;
    let answer = reader.client.get(&scene.path("joined_members")).await;
    if history.present_membership(reader.id()) != "join" {
        answer.refused(403, "M_FORBIDDEN");
        return;
    }
    let shown: BTreeSet<String> =
        answer.ok()["joined"].as_object().unwrap().keys().cloned().collect();
    let users = scene.readers.iter().map(|reader| reader.id().to_owned());
    let joined = users.filter(|user| history.present_membership(user) == "join").collect();
    assert_eq!(shown, joined);
}
