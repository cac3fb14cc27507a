//! Redacting events.

use ruma::{EventId, OwnedEventId};
use serde_json::{Value, json};
use stoa_rooms::{Result, Room, RoomError};
use stoa_testing::both_databases;

use crate::support::{ALICE, BOB, CHARLIE, VERSIONS, World, actor, assert_forbidden, object};

async fn redact(
    world: &World,
    room: &std::sync::Arc<Room>,
    who: &str,
    target: &EventId,
) -> Result<OwnedEventId> {
    let content = object(json!({ "reason": "why" }));
    world.rooms.sending.redact(&actor(who), None, room, target, content, None).await
}

both_databases! {
    async fn a_redaction_removes_the_content_immediately(db: TestDatabase) {
        for version in VERSIONS {
            let world = World::start(db).await;
            let room = world.create(ALICE, |create| create.version = Some(version.clone())).await;
            world.join(&room, BOB).await;
            let sent = world.send(&room, ALICE, "secret").await;
            assert_eq!(world.event(&room, BOB, &sent).await.unwrap()["content"]["body"], "secret");
            let redaction = redact(&world, &room, ALICE, &sent).await.unwrap();
            for node in [&world, &World::start(db).await] {
                let room = node.rooms.known.by_id(&room.id).await.unwrap();
                let event = node.event(&room, BOB, &sent).await.unwrap();
                assert_eq!(event["content"], json!({}), "{version}");
                let because = &event["unsigned"]["redacted_because"];
                assert_eq!(because["event_id"], redaction.as_str());
                assert_eq!(because["content"]["reason"], "why");
                let redaction = node.event(&room, BOB, &redaction).await.unwrap();
                // Both old and new clients find what was redacted.
                assert_eq!(redaction["redacts"], sent.as_str(), "{version}");
                assert_eq!(redaction["content"]["redacts"], sent.as_str(), "{version}");
            }
            let stored = world.rooms.unchecked_events.by_id(&sent).await.unwrap().unwrap();
            assert!(!stored.pdu.json().contains("secret"));
        }
    }

    async fn redacting_other_users_events_needs_power(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        world.join(&room, BOB).await;
        world.join(&room, CHARLIE).await;
        let bobs = world.send(&room, BOB, "b").await;
        assert_forbidden(redact(&world, &room, CHARLIE, &bobs).await);
        redact(&world, &room, ALICE, &bobs).await.unwrap();
        let bobs = world.send(&room, BOB, "b").await;
        redact(&world, &room, BOB, &bobs).await.unwrap();
    }

    async fn an_event_of_another_room_is_not_found(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let other = world.create(ALICE, |_| {}).await;
        let sent = world.send(&room, ALICE, "x").await;
        let redacted = redact(&world, &other, ALICE, &sent).await;
        assert!(matches!(redacted, Err(RoomError::NotFound(_))), "{redacted:?}");
        let unknown = EventId::parse("$unknown").unwrap();
        let redacted = redact(&world, &room, ALICE, &unknown).await;
        assert!(matches!(redacted, Err(RoomError::NotFound(_))), "{redacted:?}");
    }

    async fn redacted_state_stays_in_the_state(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |create| create.name = Some("secret".to_owned())).await;
        let state = world.rooms.known.committed(&room).await.unwrap().state;
        let name = world.rooms.state_events.unchecked_entry(state, &"m.room.name".into(), "").await.unwrap().unwrap();
        redact(&world, &room, ALICE, &name.pdu.event_id).await.unwrap();
        assert_eq!(world.state(&room, "m.room.name", "").await, Some(json!({})));
        let members = world.state(&room, "m.room.member", ALICE).await;
        assert_eq!(members.as_ref().map(|member| &member["membership"]), Some(&Value::from("join")));
        world.send(&room, ALICE, "still here").await;
    }
}
