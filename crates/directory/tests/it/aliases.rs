//! Creating, resolving, listing and deleting aliases.

use ruma::{RoomAliasId, events::StateEventType};
use stoa_directory::DirectoryError;
use stoa_rooms::CreateRoom;
use stoa_storage::repo;
use stoa_testing::{Backend, both_databases, public_room, run_on};

use crate::fixture::{Fixture, actor, alias, content, user};

both_databases! {
    async fn an_alias_leads_to_its_room(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let room = fixture.room(&alice).await;
        for name in ["plain", "Großer Raum", "部屋", "🦀", "with/slash", "with#sigil"] {
            fixture.directory.create_alias(&alice, &alias(name), &room).await.unwrap();
            let found = fixture.directory.resolve(&alias(name)).await.unwrap().unwrap();
            assert_eq!(found.room.id, room.id, "{name}");
            assert_eq!(found.creator, alice.user_id);
            assert_eq!(found.servers, ["test"]);
        }
        assert!(fixture.directory.resolve(&alias("Plain")).await.unwrap().is_none());
    }

    async fn an_alias_can_be_taken_only_once(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let (first, second) = (fixture.room(&alice).await, fixture.room(&alice).await);
        fixture.directory.create_alias(&alice, &alias("a"), &first).await.unwrap();
        for room in [&first, &second] {
            let again = fixture.directory.create_alias(&alice, &alias("a"), room).await;
            assert!(matches!(again, Err(DirectoryError::Taken)));
        }
        let found = fixture.directory.resolve(&alias("a")).await.unwrap().unwrap();
        assert_eq!(found.room.id, first.id);
    }

    async fn only_valid_local_aliases_can_be_created(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let room = fixture.room(&alice).await;
        let longest = "x".repeat(255 - "#:test".len());
        fixture.directory.create_alias(&alice, &alias(&longest), &room).await.unwrap();
        let elsewhere = RoomAliasId::parse("#a:elsewhere").unwrap();
        for refused in [alias(&format!("{longest}x")), alias(""), elsewhere.clone()] {
            let created = fixture.directory.create_alias(&alice, &refused, &room).await;
            assert!(matches!(created, Err(DirectoryError::InvalidAlias(_))), "{refused}");
            let reserved = fixture.directory.reserve(&alice, &refused).await;
            assert!(matches!(reserved, Err(DirectoryError::InvalidAlias(_))), "{refused}");
        }
        assert!(fixture.directory.resolve(&elsewhere).await.unwrap().is_none());
    }

    async fn a_localpart_becomes_an_alias_of_this_server(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        assert_eq!(fixture.directory.local_alias("a b").unwrap(), "#a b:test");
        for refused in ["", "a:b", "a\0b"] {
            let refused = fixture.directory.local_alias(refused);
            assert!(matches!(refused, Err(DirectoryError::InvalidAlias(_))));
        }
    }

    async fn members_can_create_aliases_without_power(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let (alice, bob, carol) = (actor("alice"), actor("bob"), actor("carol"));
        let levels = content(r#"{"events":{"m.room.aliases":50}}"#);
        let create = CreateRoom { power_level_override: levels, ..public_room() };
        let room = fixture.room_with(&alice, create).await;
        fixture.join(&bob, &room).await;
        fixture.directory.create_alias(&bob, &alias("bob"), &room).await.unwrap();
        fixture.directory.delete_alias(&bob, false, &alias("bob")).await.unwrap();

        let outside = fixture.directory.create_alias(&carol, &alias("carol"), &room).await;
        assert!(matches!(outside, Err(DirectoryError::Forbidden(_))));
        fixture.leave(&bob, &room).await;
        let left = fixture.directory.create_alias(&bob, &alias("bob"), &room).await;
        assert!(matches!(left, Err(DirectoryError::Forbidden(_))));
    }

    async fn only_users_with_power_can_delete_aliases_of_others(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let (alice, bob, carol) = (actor("alice"), actor("bob"), actor("carol"));
        let room = fixture.room(&alice).await;
        fixture.join(&bob, &room).await;
        fixture.join(&carol, &room).await;
        for name in ["one", "two"] {
            fixture.directory.create_alias(&bob, &alias(name), &room).await.unwrap();
        }
        let without_power = fixture.directory.delete_alias(&carol, false, &alias("one")).await;
        assert!(matches!(without_power, Err(DirectoryError::Forbidden(_))));

        let deleted = fixture.directory.delete_alias(&alice, false, &alias("one")).await.unwrap();
        assert_eq!(deleted.id, room.id);
        fixture.directory.delete_alias(&actor("admin"), true, &alias("two")).await.unwrap();
        for gone in ["one", "two", "never"] {
            assert!(fixture.directory.resolve(&alias(gone)).await.unwrap().is_none());
            let again = fixture.directory.delete_alias(&bob, false, &alias(gone)).await;
            assert!(matches!(again, Err(DirectoryError::NotFound)));
        }
    }

    async fn power_counts_only_while_in_the_room(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let (alice, bob) = (actor("alice"), actor("bob"));
        let room = fixture.room(&alice).await;
        fixture.join(&bob, &room).await;
        fixture.directory.create_alias(&bob, &alias("a"), &room).await.unwrap();
        fixture.leave(&alice, &room).await;
        let deleted = fixture.directory.delete_alias(&alice, false, &alias("a")).await;
        assert!(matches!(deleted, Err(DirectoryError::Forbidden(_))));
        let published = fixture.directory.set_published(&alice, false, &room, true).await;
        assert!(matches!(published, Err(DirectoryError::Forbidden(_))));
    }

    async fn the_aliases_of_a_room_are_shown_to_its_members(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let room = fixture.room(&alice).await;
        let aliases = async |reader: &str| fixture.directory.aliases_of(&user(reader), &room).await;
        assert!(aliases("alice").await.unwrap().is_empty());
        for name in ["b", "a"] {
            fixture.directory.create_alias(&alice, &alias(name), &room).await.unwrap();
        }
        assert_eq!(aliases("alice").await.unwrap(), ["#a:test", "#b:test"]);
        assert!(matches!(aliases("bob").await, Err(DirectoryError::Forbidden(_))));

        let readable = (
            StateEventType::RoomHistoryVisibility,
            String::new(),
            content(r#"{"history_visibility":"world_readable"}"#),
        );
        let create = CreateRoom { initial_state: vec![readable], ..public_room() };
        let open = fixture.room_with(&alice, create).await;
        assert!(fixture.directory.aliases_of(&user("bob"), &open).await.unwrap().is_empty());
    }

    async fn a_reserved_alias_is_taken_but_does_not_resolve(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let room = fixture.room(&alice).await;
        let reservation = fixture.directory.reserve(&alice, &alias("a")).await.unwrap();
        assert!(fixture.directory.resolve(&alias("a")).await.unwrap().is_none());
        let created = fixture.directory.create_alias(&alice, &alias("a"), &room).await;
        assert!(matches!(created, Err(DirectoryError::Taken)));
        let reserved = fixture.directory.reserve(&alice, &alias("a")).await;
        assert!(matches!(reserved, Err(DirectoryError::Taken)));
        let deleted = fixture.directory.delete_alias(&alice, false, &alias("a")).await;
        assert!(matches!(deleted, Err(DirectoryError::NotFound)));

        fixture.directory.release(reservation).await.unwrap();
        let reservation = fixture.directory.reserve(&alice, &alias("a")).await.unwrap();
        fixture.directory.add(reservation, &room).await.unwrap();
        let found = fixture.directory.resolve(&alias("a")).await.unwrap().unwrap();
        assert_eq!((&found.room.id, &found.creator), (&room.id, &alice.user_id));
    }

    async fn a_reservation_expires(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let mut conn = fixture.node.store.write().await.unwrap();
        let past = conn.now_ms().await.unwrap() - 1;
        assert!(repo::aliases::reserve(&mut conn, "#a:test", "@bob:test", past).await.unwrap());
        conn.commit().await.unwrap();
        let room = fixture.room(&alice).await;
        fixture.directory.create_alias(&alice, &alias("a"), &room).await.unwrap();
        let found = fixture.directory.resolve(&alias("a")).await.unwrap().unwrap();
        assert_eq!(found.room.id, room.id);
    }
}

#[test]
fn only_one_of_two_nodes_gets_an_alias() {
    run_on(Backend::Postgres, async |db| {
        let (a, b) = (Fixture::new(db).await, Fixture::new(db).await);
        let alice = actor("alice");
        let room = a.room(&alice).await;
        let on_b = b.rooms.known.by_id(&room.id).await.unwrap();
        for round in 0..20 {
            let alias = alias(&format!("race-{round}"));
            let (first, second) = tokio::join!(
                a.directory.create_alias(&alice, &alias, &room),
                b.directory.reserve(&alice, &alias),
            );
            assert_ne!(first.is_ok(), second.is_ok(), "{first:?} {second:?}");
            if let Ok(reservation) = second {
                b.directory.add(reservation, &on_b).await.unwrap();
            }
            for directory in [&a.directory, &b.directory] {
                let found = directory.resolve(&alias).await.unwrap().unwrap();
                assert_eq!(found.room.id, room.id);
            }
        }
    });
}
