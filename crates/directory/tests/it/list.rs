//! The local room directory.

use std::sync::Arc;

use ruma::{directory::RoomTypeFilter, events::StateEventType, room::JoinRuleKind};
use stoa_directory::{Directory, DirectoryError, List, ListOptions};
use stoa_rooms::{CreateRoom, Preset, Room};
use stoa_testing::{both_databases, public_room};

use crate::fixture::{Fixture, actor, content};

async fn list(directory: &Directory, options: ListOptions) -> List {
    directory.list(&options).await.unwrap()
}

fn ids(list: &List) -> Vec<String> {
    list.rooms.iter().map(|room| room.room_id.to_string()).collect()
}

fn names(list: &List) -> Vec<&str> {
    list.rooms.iter().filter_map(|room| room.name.as_deref()).collect()
}

fn search(term: &str) -> ListOptions {
    let mut options = ListOptions::default();
    options.filter.generic_search_term = Some(term.to_owned());
    options
}

/// Creates published rooms with one to four members, two rooms of each size.
async fn rooms_of_many_sizes(fixture: &Fixture) -> Vec<Arc<Room>> {
    let mut rooms = Vec::new();
    for index in 0..8 {
        let room = fixture.room(&actor("alice")).await;
        for guest in 0..index % 4 {
            fixture.join(&actor(&format!("guest{guest}")), &room).await;
        }
        fixture.directory.publish(&room).await.unwrap();
        rooms.push(room);
    }
    rooms
}

both_databases! {
    async fn an_entry_shows_the_current_state(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let state = |kind: &str, json: &str| {
            (StateEventType::from(kind), String::new(), content(json))
        };
        let create = CreateRoom {
            creation_content: content(r#"{"type":"m.space"}"#),
            canonical_alias: Some("#main:test".to_owned()),
            name: Some("Name".to_owned()),
            topic: Some("Topic".to_owned()),
            initial_state: vec![
                state("m.room.avatar", r#"{"url":"mxc://test/avatar"}"#),
                state("m.room.history_visibility", r#"{"history_visibility":"world_readable"}"#),
                state("m.room.guest_access", r#"{"guest_access":"can_join"}"#),
                state("m.room.join_rules", r#"{"join_rule":"knock"}"#),
            ],
            ..public_room()
        };
        let room = fixture.room_with(&alice, create).await;
        fixture.directory.publish(&room).await.unwrap();

        let page = list(&fixture.directory, ListOptions::default()).await;
        let [entry] = &page.rooms[..] else { panic!("{page:?}") };
        assert_eq!(entry.room_id, room.id);
        assert_eq!(entry.name.as_deref(), Some("Name"));
        assert_eq!(entry.topic.as_deref(), Some("Topic"));
        assert_eq!(entry.canonical_alias.as_ref().unwrap(), "#main:test");
        assert_eq!(entry.avatar_url.as_ref().unwrap(), "mxc://test/avatar");
        assert_eq!(entry.room_type.as_ref().unwrap().as_str(), "m.space");
        assert_eq!(entry.join_rule, JoinRuleKind::Knock);
        assert_eq!(u64::from(entry.num_joined_members), 1);
        assert!(entry.world_readable && entry.guest_can_join);
    }

    async fn a_room_without_name_or_topic_is_listed(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let odd = (StateEventType::RoomName, String::new(), content(r#"{"name":5}"#));
        let preset = Preset::PrivateChat;
        let create = CreateRoom { preset, initial_state: vec![odd], ..public_room() };
        let room = fixture.room_with(&actor("alice"), create).await;
        fixture.directory.publish(&room).await.unwrap();
        let page = list(&fixture.directory, ListOptions::default()).await;
        let [entry] = &page.rooms[..] else { panic!("{page:?}") };
        assert_eq!((&entry.name, &entry.topic, &entry.canonical_alias), (&None, &None, &None));
        assert_eq!(entry.join_rule, JoinRuleKind::Invite);
        assert!(!entry.world_readable);
    }

    async fn a_room_is_listed_from_its_publication_to_its_withdrawal(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let (alice, bob) = (actor("alice"), actor("bob"));
        let room = fixture.room(&alice).await;
        fixture.join(&bob, &room).await;
        let listed = async || ids(&list(&fixture.directory, ListOptions::default()).await);
        assert!(listed().await.is_empty());
        assert!(!fixture.directory.is_published(&room).await.unwrap());

        let by_member = fixture.directory.set_published(&bob, false, &room, true).await;
        assert!(matches!(by_member, Err(DirectoryError::Forbidden(_))));
        assert!(listed().await.is_empty());
        for _ in 0..2 {
            fixture.directory.set_published(&alice, false, &room, true).await.unwrap();
            assert!(fixture.directory.is_published(&room).await.unwrap());
            assert_eq!(listed().await, [room.id.as_str()]);
        }
        for _ in 0..2 {
            fixture.directory.set_published(&bob, true, &room, false).await.unwrap();
            assert!(!fixture.directory.is_published(&room).await.unwrap());
            assert!(listed().await.is_empty());
        }
    }

    async fn a_room_without_members_is_not_listed(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        let alice = actor("alice");
        let room = fixture.room(&alice).await;
        fixture.directory.publish(&room).await.unwrap();
        fixture.leave(&alice, &room).await;
        let page = list(&fixture.directory, ListOptions::default()).await;
        assert!(page.rooms.is_empty());
        assert_eq!(page.total, Some(0));
    }

    async fn pages_can_be_followed_down_the_list_and_back_up(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        rooms_of_many_sizes(&fixture).await;
        let whole = list(&fixture.directory, ListOptions::default()).await;
        let sizes: Vec<u64> =
            whole.rooms.iter().map(|room| room.num_joined_members.into()).collect();
        assert_eq!(sizes, [4, 4, 3, 3, 2, 2, 1, 1]);
        assert_eq!((whole.next.as_ref(), whole.prev.as_ref()), (None, None));
        assert_eq!(whole.total, Some(8));

        let page = async |since: Option<String>| {
            let options = ListOptions { limit: Some(3), since, ..ListOptions::default() };
            list(&fixture.directory, options).await
        };
        let first = page(None).await;
        assert_eq!(first.prev, None);
        let second = page(first.next.clone()).await;
        let third = page(second.next.clone()).await;
        assert_eq!(third.next, None);
        let seen = [ids(&first), ids(&second), ids(&third)];
        assert_eq!(seen.concat(), ids(&whole));

        let second_again = page(third.prev.clone()).await;
        assert_eq!(ids(&second_again), ids(&second));
        let first_again = page(second_again.prev.clone()).await;
        assert_eq!(ids(&first_again), ids(&first));
        assert_eq!(first_again.prev, None);
        assert_eq!(ids(&page(second_again.next.clone()).await), ids(&third));
        assert_eq!(ids(&page(first_again.next).await), ids(&second));
    }

    async fn the_last_page_has_no_next_token(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        rooms_of_many_sizes(&fixture).await;
        for limit in [8, 9, 100_000] {
            let options = ListOptions { limit: Some(limit), ..ListOptions::default() };
            let page = list(&fixture.directory, options).await;
            assert_eq!((page.rooms.len(), page.next), (8, None));
        }
    }

    async fn an_invalid_token_is_refused(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        for token in ["", "s1_2", "d", "d1", "d1.x", "ä1.1", "d1.99999999999999999999"] {
            let since = Some(token.to_owned());
            let page = fixture.directory.list(&ListOptions { since, ..Default::default() }).await;
            assert!(matches!(page, Err(DirectoryError::InvalidToken)), "{token}");
        }
    }

    async fn rooms_are_found_by_name_topic_and_canonical_alias(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        for (name, topic, alias) in [
            ("Straße", "Roads", "#one:test"),
            ("Bridges", "Across ROADS", "#two:test"),
            ("Tunnels", "Below", "#roads-below:test"),
        ] {
            let create = CreateRoom {
                name: Some(name.to_owned()),
                topic: Some(topic.to_owned()),
                canonical_alias: Some(alias.to_owned()),
                ..public_room()
            };
            let room = fixture.room_with(&actor("alice"), create).await;
            fixture.directory.publish(&room).await.unwrap();
        }
        let found = async |term: &str| {
            let page = list(&fixture.directory, search(term)).await;
            assert_eq!((page.next.as_ref(), page.total.is_some()), (None, term.trim().is_empty()));
            let mut found: Vec<String> =
                names(&page).into_iter().map(ToOwned::to_owned).collect();
            found.sort();
            found
        };
        assert_eq!(found("roads").await, ["Bridges", "Straße", "Tunnels"]);
        assert_eq!(found("STRASSE").await, Vec::<String>::new());
        assert_eq!(found("straße").await, ["Straße"]);
        assert_eq!(found("below").await, ["Tunnels"]);
        assert_eq!(found("nowhere").await, Vec::<String>::new());
        assert_eq!(found("").await.len(), 3);
        assert_eq!(found("  ").await.len(), 3);
    }

    async fn a_search_continues_where_its_last_page_ended(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        for index in 0..9 {
            let name = format!("{} {index}", if index % 2 == 0 { "even" } else { "odd" });
            let create = CreateRoom { name: Some(name), ..public_room() };
            let room = fixture.room_with(&actor("alice"), create).await;
            fixture.directory.publish(&room).await.unwrap();
        }
        let (mut seen, mut since) = (Vec::new(), None);
        loop {
            let options = ListOptions { limit: Some(2), since, ..search("even") };
            let page = list(&fixture.directory, options).await;
            assert!(page.rooms.len() <= 2);
            seen.extend(names(&page).into_iter().map(ToOwned::to_owned));
            since = page.next;
            if since.is_none() {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, ["even 0", "even 2", "even 4", "even 6", "even 8"]);
    }

    async fn rooms_are_found_by_their_type(db: TestDatabase) {
        let fixture = Fixture::new(db).await;
        for (name, kind) in [("room", None), ("space", Some("m.space")), ("other", Some("x.y"))] {
            let creation = kind.map_or_else(Default::default, |kind| {
                content(&format!(r#"{{"type":"{kind}"}}"#))
            });
            let create = CreateRoom {
                name: Some(name.to_owned()),
                creation_content: creation,
                ..public_room()
            };
            let room = fixture.room_with(&actor("alice"), create).await;
            fixture.directory.publish(&room).await.unwrap();
        }
        let found = async |types: &[Option<&str>]| {
            let mut options = ListOptions::default();
            options.filter.room_types =
                types.iter().copied().map(RoomTypeFilter::from).collect();
            let page = list(&fixture.directory, options).await;
            let mut found: Vec<String> =
                names(&page).into_iter().map(ToOwned::to_owned).collect();
            found.sort();
            found
        };
        assert_eq!(found(&[]).await, ["other", "room", "space"]);
        assert_eq!(found(&[None]).await, ["room"]);
        assert_eq!(found(&[Some("m.space")]).await, ["space"]);
        assert_eq!(found(&[None, Some("x.y")]).await, ["other", "room"]);
        assert_eq!(found(&[Some("none")]).await, Vec::<String>::new());
    }
}
