//! Events of a room's timeline: one, those around it, and page by page.

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
        super::state::assert_is_state(scene, &shown["state"], last);
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
