//! Creating rooms.

use ruma::{RoomVersionId, events::StateEventType};
use serde_json::json;
use stoa_rooms::{MemberProfile, Preset, RoomError};
use stoa_testing::both_databases;

use crate::support::{ALICE, BOB, CHARLIE, VERSIONS, World, object, user};

both_databases! {
    async fn a_room_starts_with_six_events(db: TestDatabase) {
        for version in VERSIONS {
            let world = World::start(db).await;
            let room = world.create(ALICE, |create| create.version = Some(version.clone())).await;
            assert_eq!(room.version, version);
            assert_eq!(
                world.state_entries(&room).await,
                [
                    "m.room.create|",
                    "m.room.member|@alice:test",
                    "m.room.power_levels|",
                    "m.room.join_rules|",
                    "m.room.history_visibility|",
                    "m.room.guest_access|",
                ],
                "{version}"
            );
            let create = world.state(&room, "m.room.create", "").await.unwrap();
            assert_eq!(create["room_version"], version.as_str());
            let names_creator = create.get("creator").is_some();
            let is_old = !matches!(version, RoomVersionId::V11 | RoomVersionId::V12);
            assert_eq!(names_creator, is_old, "{version}");
            let committed = world.rooms.known.committed(&room).await.unwrap();
            assert_eq!((committed.joined, committed.invited), (1, 0));
        }
    }

    async fn presets_differ_in_who_may_join_and_who_has_power(db: TestDatabase) {
        let world = World::start(db).await;
        for (preset, join_rule, guests, invite, bobs_level) in [
            (Preset::PrivateChat, "invite", "can_join", 0, json!(null)),
            (Preset::TrustedPrivateChat, "invite", "can_join", 0, json!(100)),
            (Preset::PublicChat, "public", "forbidden", 50, json!(null)),
        ] {
            let room = world
                .create(ALICE, |create| {
                    create.preset = preset;
                    create.version = Some(RoomVersionId::V11);
                    create.invite = vec![(user(BOB), MemberProfile::default())];
                })
                .await;
            let state = async |kind| world.state(&room, kind, "").await.unwrap();
            assert_eq!(state("m.room.join_rules").await["join_rule"], join_rule);
            assert_eq!(state("m.room.guest_access").await["guest_access"], guests);
            let history = state("m.room.history_visibility").await;
            assert_eq!(history["history_visibility"], "shared");
            let levels = state("m.room.power_levels").await;
            assert_eq!(levels["invite"], invite);
            assert_eq!(levels["users"]["@alice:test"], 100);
            assert_eq!(levels["users"]["@bob:test"], bobs_level);
            assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("invite"));
        }
    }

    async fn trusted_invitees_are_creators_from_version_12_on(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world
            .create(ALICE, |create| {
                create.preset = Preset::TrustedPrivateChat;
                create.version = Some(RoomVersionId::V12);
                create.invite = vec![(user(BOB), MemberProfile::default())];
            })
            .await;
        let create = world.state(&room, "m.room.create", "").await.unwrap();
        assert_eq!(create["additional_creators"], json!(["@bob:test"]));
        let levels = world.state(&room, "m.room.power_levels", "").await.unwrap();
        assert_eq!(levels["users"], json!({}));
        let state = world.rooms.known.committed(&room).await.unwrap().state;
        let power = world.rooms.state_events.power(&room.rules, state).await.unwrap();
        assert_eq!(power.of(&user(BOB)).unwrap(), i64::MAX);
        assert_eq!(power.of(&user(CHARLIE)).unwrap(), 0);
    }

    async fn the_request_takes_precedence_over_the_preset(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world
            .create(ALICE, |create| {
                create.creation_content =
                    object(json!({ "m.federate": false, "room_version": "test", "x": "y" }));
                create.power_level_override = object(json!({ "users_default": 7, "events": {} }));
                create.initial_state = vec![
                    (
                        StateEventType::RoomHistoryVisibility,
                        String::new(),
                        object(json!({ "history_visibility": "joined" })),
                    ),
                    (StateEventType::RoomTopic, String::new(), object(json!({ "topic": "no" }))),
                    (StateEventType::RoomName, String::new(), object(json!({ "name": "given" }))),
                    ("x.y".into(), "key".to_owned(), object(json!({ "z": 1 }))),
                ];
                create.topic = Some("yes".to_owned());
                create.canonical_alias = Some("#a:test".to_owned());
                create.invite = vec![(
                    user(BOB),
                    MemberProfile { displayname: Some("Bob".to_owned()), avatar_url: None },
                )];
                create.is_direct = true;
                create.profile =
                    MemberProfile { displayname: None, avatar_url: Some("mxc://x".to_owned()) };
            })
            .await;
        let state = async |kind, key| world.state(&room, kind, key).await.unwrap();
        let create = state("m.room.create", "").await;
        assert_eq!(create, json!({ "m.federate": false, "room_version": "12", "x": "y" }));
        let levels = state("m.room.power_levels", "").await;
        assert_eq!((&levels["users_default"], &levels["events"]), (&json!(7), &json!({})));
        assert_eq!(levels["ban"], 50);
        let history = state("m.room.history_visibility", "").await;
        assert_eq!(history["history_visibility"], "joined");
        assert_eq!(
            state("m.room.topic", "").await,
            json!({
                "topic": "yes",
                "m.topic": { "m.text": [{ "body": "yes", "mimetype": "text/plain" }] },
            })
        );
        assert_eq!(state("m.room.name", "").await, json!({ "name": "given" }));
        assert_eq!(state("x.y", "key").await, json!({ "z": 1 }));
        assert_eq!(state("m.room.canonical_alias", "").await, json!({ "alias": "#a:test" }));
        assert_eq!(
            state("m.room.member", BOB).await,
            json!({ "membership": "invite", "displayname": "Bob", "is_direct": true })
        );
        assert_eq!(
            state("m.room.member", ALICE).await,
            json!({ "membership": "join", "avatar_url": "mxc://x" })
        );
        let committed = world.rooms.known.committed(&room).await.unwrap();
        assert_eq!((committed.joined, committed.invited), (1, 1));
    }

    async fn a_topic_in_the_initial_state_is_kept_unchanged(db: TestDatabase) {
        let world = World::start(db).await;
        let topic = object(json!({ "topic": "plain" }));
        let initial_state = vec![(StateEventType::RoomTopic, String::new(), topic)];
        let room = world.create(ALICE, |create| create.initial_state = initial_state).await;
        let topic = world.state(&room, "m.room.topic", "").await;
        assert_eq!(topic, Some(json!({ "topic": "plain" })));
    }

    async fn an_invalid_room_is_not_created(db: TestDatabase) {
        let world = World::start(db).await;
        let created = world
            .try_create(ALICE, |create| {
                // The creators of a room of version 12 cannot have a level in the power levels.
                create.power_level_override = object(json!({ "users": { ALICE: 100 } }));
            })
            .await;
        assert!(matches!(created, Err(RoomError::InvalidRoomState(_))), "{created:?}");
        let created = world
            .try_create(ALICE, |create| {
                let member = object(json!({ "membership": "join" }));
                create.initial_state =
                    vec![(StateEventType::RoomMember, BOB.to_owned(), member)];
            })
            .await;
        assert!(matches!(created, Err(RoomError::InvalidRoomState(_))), "{created:?}");
        assert!(world.rooms.memberships.of(&user(ALICE)).await.unwrap().is_empty());
    }

    async fn versions_before_6_and_unknown_ones_are_refused(db: TestDatabase) {
        let world = World::start(db).await;
        for version in ["1", "5", "13", "org.example"] {
            let version = RoomVersionId::try_from(version).unwrap();
            let created = world.try_create(ALICE, |create| create.version = Some(version)).await;
            assert!(matches!(created, Err(RoomError::UnsupportedVersion(_))), "{created:?}");
        }
    }

    async fn a_node_with_empty_caches_reads_the_same_room(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |create| create.name = Some("n".to_owned())).await;
        let sent = world.send(&room, ALICE, "hello").await;
        let other = World::start(db).await;
        let same = other.rooms.known.by_id(&room.id).await.unwrap();
        assert_eq!((same.nid, &same.version), (room.nid, &room.version));
        assert_eq!(other.state_entries(&same).await, world.state_entries(&room).await);
        let event = other.event(&same, ALICE, &sent).await.unwrap();
        assert_eq!(event["content"]["body"], "hello");
        assert_eq!(event["room_id"], room.id.as_str());
    }
}
