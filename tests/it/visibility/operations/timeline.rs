//! Events of a room's timeline: one, those around it, and page by page.

use serde_json::json;
use stoa_testing::encode;

use crate::visibility::scene::{Reader, Scene};

/// How many events a page has: so few that a walk takes several.
const PAGE: usize = 7;

pub(super) async fn event(scene: &Scene, reader: &Reader) {
    let history = &scene.history;
    let is_forgotten = history.forgotten.contains(reader.id()) && !history.is_world_readable();
    for at in 0..history.events.len() {
        let answer = reader.client.get(&scene.path_of("event", at)).await;
        if is_forgotten || !history.may_see(reader.id(), at) {
            answer.refused(404, "M_NOT_FOUND");
            continue;
        }
        let shown = answer.ok();
        assert_eq!(shown["event_id"], history.id(at));
        let membership = history.membership(reader.id(), at + 1);
        assert_eq!(shown["unsigned"]["membership"], membership, "at {shown}");
    }
}

pub(super) async fn context(scene: &Scene, reader: &Reader) {
    let history = &scene.history;
    let is_forgotten = history.forgotten.contains(reader.id()) && !history.is_world_readable();
    for at in 0..history.events.len() {
        let path = scene.path_of("context", at);
        let answer = reader.client.get(&format!("{path}?limit=100")).await;
        if is_forgotten || !history.may_see(reader.id(), at) {
            answer.refused(404, "M_NOT_FOUND");
            continue;
        }
        let shown = answer.ok();
        assert_eq!(shown["event"]["event_id"], history.id(at));
        let before = history.visible(reader.id(), (0..at).rev());
        assert_eq!(history.places(&shown["events_before"]), before, "before {at}");
        let after = history.visible(reader.id(), at + 1..history.events.len());
        assert_eq!(history.places(&shown["events_after"]), after, "after {at}");
        let last = after.last().copied().unwrap_or(at);
        match history.known_state(reader.id(), last) {
            Some(known) => super::state::assert_is_state(scene, &shown["state"], known),
            None => assert_eq!(shown["state"], json!([]), "the state after {last}"),
        }
        pages_beside(scene, reader, at).await;
    }
}

/// Checks that the pages before and after a context have exactly the events that it does not show.
async fn pages_beside(scene: &Scene, reader: &Reader, at: usize) {
    let history = &scene.history;
    let path = scene.path_of("context", at);
    let shown = reader.client.get(&format!("{path}?limit={PAGE}")).await.ok();
    let before = history.places(&shown["events_before"]);
    let after = history.places(&shown["events_after"]);
    if history.present(reader.id()).is_none() {
        return;
    }
    let first = before.last().copied().unwrap_or(at);
    let last = after.last().copied().unwrap_or(at);
    for (direction, token, mut expected) in [
        ("b", &shown["start"], history.visible(reader.id(), 0..first)),
        ("f", &shown["end"], history.visible(reader.id(), last + 1..history.events.len())),
    ] {
        if direction == "b" {
            expected.reverse();
        }
        let from = encode(token.as_str().unwrap());
        let page = format!("messages?dir={direction}&limit=1000&from={from}");
        let page = reader.client.get(&scene.path(&page)).await.ok();
        assert_eq!(history.places(&page["chunk"]), expected, "{direction} of {at}");
    }
}

pub(super) async fn messages(scene: &Scene, reader: &Reader) {
    let history = &scene.history;
    let all = 0..history.events.len();
    for direction in ["f", "b"] {
        let first = format!("messages?dir={direction}&limit={PAGE}");
        if history.present(reader.id()).is_none() {
            reader.client.get(&scene.path(&first)).await.refused(403, "M_FORBIDDEN");
            continue;
        }
        let mut expected = history.visible(reader.id(), all.clone());
        if direction == "b" {
            expected.reverse();
        }
        let mut shown = Vec::new();
        let mut next = first.clone();
        // Each page but the last has an event.
        for _ in 0..history.events.len() + 2 {
            let page = reader.client.get(&scene.path(&next)).await.ok();
            shown.extend(history.places(&page["chunk"]));
            let Some(end) = page["end"].as_str() else { break };
            next = format!("{first}&from={}", encode(end));
        }
        assert_eq!(shown, expected, "dir={direction}");
    }
}
