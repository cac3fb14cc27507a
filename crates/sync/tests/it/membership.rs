//! Which section a room is in, and what it contains.

use serde_json::json;
use stoa_rooms::{MembershipChange, Preset};
use stoa_testing::both_databases;

use crate::{
    client::{Client, brief, is_empty, joined, room},
    site::{Site, object, user_id},
};

fn private(create: &mut stoa_rooms::CreateRoom) {
    create.preset = Preset::PrivateChat;
    create.name = Some("secret plans".to_owned());
    let content = object(json!({ "history_visibility": "joined" }));
    create.initial_state.push(("m.room.history_visibility".into(), String::new(), content));
}

both_databases! {
    async fn a_newly_joined_room_is_sent_in_full(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut bob = Client::new("bob");
        for n in 0..4 {
            site.send("alice", &id, &format!("a{n}")).await;
        }
        bob.sync(&site).await;
        for n in 0..4 {
            site.send("alice", &id, &format!("b{n}")).await;
        }
        site.join("bob", &id).await;
        let wanted = json!({ "room": {
            "timeline": { "types": ["m.room.message"] }, "state": { "types": [] },
        } });
        let mut choosy = Client { since: bob.since, ..Client::with_filter("bob", wanted) };
        let answer = choosy.sync(&site).await;
        let news = joined(&answer, &id);
        let messages = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"];
        assert_eq!(brief(&news["timeline"]), messages);
        assert_eq!(news["timeline"]["limited"], true);
        assert_eq!(brief(&news["state"]), Vec::<String>::new());
        let answer = bob.sync(&site).await;
        let news = joined(&answer, &id);
        let expected = ["guest_access", "a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3", "bob:join"];
        assert_eq!(brief(&news["timeline"]), expected);
        assert_eq!(news["timeline"]["limited"], true);
        assert_eq!(news["summary"]["m.joined_member_count"], 2);
        assert!(brief(&news["state"]).contains(&"create".to_owned()));
        // After that it is a room like any other.
        assert!(is_empty(&bob.sync(&site).await));
        site.send("alice", &id, "more").await;
        let answer = bob.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["timeline"]), ["more"]);
        assert_eq!(joined(&answer, &id)["timeline"]["limited"], false);
    }

    async fn a_new_profile_is_not_a_join(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        let content = object(json!({ "v": "again" }));
        site.change("alice", &id, MembershipChange::Join(content)).await;
        let answer = alice.sync(&site).await;
        assert_eq!(brief(&joined(&answer, &id)["timeline"]), ["alice:join"]);
        assert_eq!(joined(&answer, &id)["timeline"]["limited"], false);
        assert_eq!(joined(&answer, &id)["state"]["events"], json!([]));
    }

    async fn a_user_who_leaves_and_rejoins_is_joined(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.join("bob", &id).await;
        site.change("bob", &id, MembershipChange::Leave).await;
        site.join("bob", &id).await;
        let answer = bob.sync(&site).await;
        assert_eq!(room(&answer, "leave", &id), &json!(null));
        assert_eq!(joined(&answer, &id)["timeline"]["limited"], true);

        site.change("bob", &id, MembershipChange::Leave).await;
        site.join("bob", &id).await;
        let answer = bob.sync(&site).await;
        assert_eq!(room(&answer, "leave", &id), &json!(null));
        // Bob may have missed something in between, so everything is sent again.
        assert_eq!(brief(&joined(&answer, &id)["state"]), ["create"]);
        assert_eq!(brief(&joined(&answer, &id)["timeline"]).len(), 10);
        assert_eq!(joined(&answer, &id)["timeline"]["limited"], true);
    }

    async fn a_room_that_was_left_ends_with_the_leave(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create_with("alice", |create| create.preset = Preset::PublicChat).await;
        site.join("bob", &id).await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.send("alice", &id, "before").await;
        site.set("alice", &id, "m.test", "", json!({ "v": "before" })).await;
        site.change("bob", &id, MembershipChange::Leave).await;
        site.send("alice", &id, "after").await;
        site.set("alice", &id, "m.test", "", json!({ "v": "after" })).await;
        let answer = bob.sync(&site).await;
        assert_eq!(joined(&answer, &id), &json!(null));
        let news = room(&answer, "leave", &id);
        assert_eq!(brief(&news["timeline"]), ["before", "test=\"before\"", "bob:leave"]);
        assert_eq!(brief(&news["state"]), Vec::<String>::new());
        site.send("alice", &id, "later").await;
        assert!(is_empty(&bob.sync(&site).await));
        assert_eq!(Client::new("bob").sync(&site).await["rooms"], json!(null));

        // If the client asks for it, the room is shown as it was then.
        let filter = json!({ "room": { "include_leave": true, "timeline": { "limit": 2 } } });
        let mut archivist = Client::with_filter("bob", filter);
        let answer = archivist.sync(&site).await;
        let news = room(&answer, "leave", &id);
        assert_eq!(brief(&news["timeline"]), ["test=\"before\"", "bob:leave"]);
        assert_eq!(news["timeline"]["limited"], true);
        let state = brief(&news["state"]);
        assert!(state.contains(&"bob:join".to_owned()) && state.contains(&"create".to_owned()));
        assert!(!state.iter().any(|entry| entry.starts_with("test")), "{state:?}");
        // It is sent only once, except with the full state.
        assert!(is_empty(&archivist.sync(&site).await));
        let answer = Client { full_state: true, ..archivist }.sync(&site).await;
        let state = brief(&room(&answer, "leave", &id)["state"]);
        assert!(state.contains(&"bob:leave".to_owned()), "{state:?}");
        assert!(state.contains(&"test=\"before\"".to_owned()), "{state:?}");
    }

    async fn a_leave_is_sent_however_busy_other_rooms_are(db: TestDatabase) {
        let site = Site::start(db).await;
        let (quiet, loud) = (site.create("alice").await, site.create("alice").await);
        site.join("bob", &quiet).await;
        let filter = json!({ "room": { "include_leave": true, "timeline": { "limit": 1 } } });
        let mut alice = Client::with_filter("alice", filter);
        alice.sync(&site).await;
        site.change("alice", &quiet, MembershipChange::Leave).await;
        for n in 0..20 {
            site.send("alice", &loud, &format!("m{n}")).await;
        }
        let answer = alice.sync(&site).await;
        assert_eq!(brief(&room(&answer, "leave", &quiet)["timeline"]), ["alice:leave"]);
        assert_eq!(brief(&joined(&answer, &loud)["timeline"]), ["m19"]);
        assert_eq!(joined(&answer, &loud)["timeline"]["limited"], true);

        // Later events in the room are not sent, and the leave is not sent again.
        let content = object(json!({ "v": "again" }));
        site.change("bob", &quiet, MembershipChange::Join(content)).await;
        for n in 20..40 {
            site.send("alice", &loud, &format!("m{n}")).await;
        }
        let answer = alice.sync(&site).await;
        assert_eq!(room(&answer, "leave", &quiet), &json!(null));
        assert_eq!(brief(&joined(&answer, &loud)["timeline"]), ["m39"]);
    }

    async fn left_rooms_are_filtered_too(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let filter = json!({ "room": {
            "include_leave": true, "timeline": { "types": ["m.room.message", "m.test"] },
            "state": { "types": ["m.test"] },
        } });
        let mut bob = Client::with_filter("bob", filter.clone());
        bob.sync(&site).await;
        for value in ["before", "after"] {
            site.send("alice", &id, value).await;
            site.set("alice", &id, "m.test", "", json!({ "v": value })).await;
            if value == "before" {
                site.change("bob", &id, MembershipChange::Leave).await;
            }
        }
        for mut bob in [bob, Client::with_filter("bob", filter)] {
            let answer = bob.sync(&site).await;
            let news = room(&answer, "leave", &id);
            assert_eq!(brief(&news["timeline"]), ["before", "test=\"before\""]);
            assert_eq!(brief(&news["state"]), Vec::<String>::new());
        }
    }

    async fn a_user_who_leaves_a_members_only_room_sees_the_leave(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create_with("alice", private).await;
        let mut alice = Client::with_filter("alice", json!({ "room": { "include_leave": true } }));
        alice.sync(&site).await;
        site.change("alice", &id, MembershipChange::Leave).await;
        let answer = alice.sync(&site).await;
        let news = room(&answer, "leave", &id);
        assert_eq!(brief(&news["timeline"]), ["alice:leave"]);
        assert_eq!(news["timeline"]["events"][0]["sender"], "@alice:test");
        assert_eq!(brief(&news["state"]), Vec::<String>::new());
    }

    async fn a_user_who_left_does_not_see_what_came_before_a_later_ban(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.set("alice", &id, "m.test", "", json!({ "v": "before" })).await;
        site.change("bob", &id, MembershipChange::Leave).await;
        site.set("alice", &id, "m.test", "", json!({ "v": "between" })).await;
        site.change("alice", &id, MembershipChange::Ban(user_id("bob"))).await;
        site.set("alice", &id, "m.test", "", json!({ "v": "after" })).await;

        let at_end = Client { use_state_after: true, ..bob.clone() }.sync(&site).await;
        let state = brief(&room(&at_end, "leave", &id)["state_after"]);
        assert_eq!(state, ["test=\"before\"", "bob:ban"]);
        let news = bob.sync(&site).await;
        let timeline = ["test=\"before\"", "bob:leave", "bob:ban"];
        assert_eq!(brief(&room(&news, "leave", &id)["timeline"]), timeline);
        assert_eq!(brief(&room(&news, "leave", &id)["state"]), Vec::<String>::new());

        let filter = json!({ "room": { "include_leave": true, "timeline": { "limit": 1 } } });
        let archive = Client::with_filter("bob", filter).sync(&site).await;
        assert_eq!(brief(&room(&archive, "leave", &id)["timeline"]), ["bob:ban"]);
        let state = brief(&room(&archive, "leave", &id)["state"]);
        assert!(state.contains(&"test=\"before\"".to_owned()), "{state:?}");
        assert!(!state.contains(&"test=\"between\"".to_owned()), "{state:?}");
        assert!(state.contains(&"bob:leave".to_owned()), "{state:?}");
    }

    async fn a_left_room_without_a_timeline_has_the_state_at_the_end(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        site.set("alice", &id, "m.test", "", json!({ "v": "before" })).await;
        site.change("alice", &id, MembershipChange::Kick(user_id("bob"))).await;
        site.set("alice", &id, "m.test", "", json!({ "v": "after" })).await;
        let filter = json!({ "room": { "include_leave": true, "timeline": { "limit": 0 } } });
        let answer = Client::with_filter("bob", filter).sync(&site).await;
        let news = room(&answer, "leave", &id);
        assert_eq!(news["timeline"]["events"], json!([]));
        let state = brief(&news["state"]);
        assert!(state.contains(&"bob:leave".to_owned()) && !state.contains(&"bob:join".to_owned()));
        assert!(state.contains(&"test=\"before\"".to_owned()));
    }

    async fn an_invite_shows_only_stripped_state(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create_with("alice", private).await;
        site.send("alice", &id, "secret").await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.change("alice", &id, MembershipChange::Invite(user_id("bob"))).await;
        let answer = bob.sync(&site).await;
        assert_eq!(joined(&answer, &id), &json!(null));
        let invite = &room(&answer, "invite", &id)["invite_state"];
        assert_eq!(brief(invite), ["create", "join_rules", "name", "bob:invite"]);
        assert_eq!(invite["events"][2]["content"]["name"], "secret plans");
        assert_eq!(invite["events"][2]["event_id"], json!(null));
        assert!(is_empty(&bob.sync(&site).await));
        assert!(room(&Client::new("bob").sync(&site).await, "invite", &id).is_object());

        site.change("bob", &id, MembershipChange::Leave).await;
        let answer = bob.sync(&site).await;
        let news = room(&answer, "leave", &id);
        assert!(brief(&news["timeline"]).contains(&"bob:leave".to_owned()), "{news}");
        assert!(!news.to_string().contains("secret"), "{news}");
        assert_eq!(room(&answer, "invite", &id), &json!(null));
        assert!(is_empty(&bob.sync(&site).await));
    }

    async fn an_invite_that_came_and_went_is_sent_as_a_leave(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create_with("alice", private).await;
        let mut bob = Client { full_state: true, ..Client::new("bob") };
        bob.sync(&site).await;
        site.change("alice", &id, MembershipChange::Invite(user_id("bob"))).await;
        site.change("bob", &id, MembershipChange::Leave).await;
        let since = bob.since;
        let answer = bob.sync(&site).await;
        assert!(room(&answer, "leave", &id).is_object(), "{answer}");
        let mut patient = Client { since, use_state_after: true, ..Client::new("bob") };
        let answer = patient.sync(&site).await;
        assert_eq!(brief(&room(&answer, "leave", &id)["state_after"]), ["bob:leave"]);

        site.change("alice", &id, MembershipChange::Invite(user_id("bob"))).await;
        site.join("bob", &id).await;
        let answer = bob.sync(&site).await;
        assert_eq!(room(&answer, "leave", &id), &json!(null));
        assert!(joined(&answer, &id).is_object());
    }

    async fn a_user_who_declines_an_invite_is_told_of_a_gap(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.set("alice", &id, "m.room.history_visibility", "", json!({
            "history_visibility": "invited",
        })).await;
        site.join("bob", &id).await;
        site.change("bob", &id, MembershipChange::Leave).await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.change("alice", &id, MembershipChange::Invite(user_id("bob"))).await;
        site.send("alice", &id, "welcome").await;
        assert!(room(&bob.sync(&site).await, "invite", &id).is_object());
        site.change("bob", &id, MembershipChange::Leave).await;
        let answer = bob.sync(&site).await;
        let news = room(&answer, "leave", &id);
        // An invite has no timeline, so it showed Bob none of the events that are visible to them.
        assert_eq!(brief(&news["timeline"]), ["bob:leave"]);
        assert_eq!(news["timeline"]["limited"], true);
    }

    async fn a_banned_user_sees_the_ban_and_nothing_later(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.change("alice", &id, MembershipChange::Ban(user_id("bob"))).await;
        site.send("alice", &id, "good riddance").await;
        let answer = bob.sync(&site).await;
        assert_eq!(brief(&room(&answer, "leave", &id)["timeline"]), ["bob:ban"]);
    }

    async fn a_ban_is_sent_even_if_the_filter_excludes_members(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        site.join("bob", &id).await;
        let filter = json!({ "room": { "timeline": { "types": ["m.room.message"] } } });
        let mut bob = Client::with_filter("bob", filter);
        bob.sync(&site).await;
        site.change("bob", &id, MembershipChange::Leave).await;
        assert_eq!(brief(&room(&bob.sync(&site).await, "leave", &id)["state"]), ["bob:leave"]);
        site.change("alice", &id, MembershipChange::Ban(user_id("bob"))).await;
        assert_eq!(brief(&room(&bob.sync(&site).await, "leave", &id)["state"]), ["bob:ban"]);
    }

    async fn a_knock_shows_stripped_state(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site
            .create_with("alice", |create| {
                let rules = object(json!({ "join_rule": "knock" }));
                create.initial_state.push(("m.room.join_rules".into(), String::new(), rules));
            })
            .await;
        let mut bob = Client::new("bob");
        bob.sync(&site).await;
        site.change("bob", &id, MembershipChange::Knock).await;
        let answer = bob.sync(&site).await;
        let knock = &room(&answer, "knock", &id)["knock_state"];
        assert_eq!(brief(knock), ["create", "join_rules", "bob:knock"]);
    }

    async fn a_token_is_not_tied_to_its_user(db: TestDatabase) {
        let site = Site::start(db).await;
        let id = site.create("alice").await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        site.join("bob", &id).await;
        let answer = Client { since: alice.since, ..Client::new("bob") }.sync(&site).await;
        assert!(joined(&answer, &id).is_object());
    }

    /// Five newly joined rooms with member events of 120,000 bytes each.
    async fn member_events_count_while_memberships_are_determined(db: TestDatabase) {
        let site = Site::start(db).await;
        let mut alice = Client::with_filter("alice", json!({ "room": {
            "timeline": { "rooms": [] }, "state": { "rooms": [] },
        } }));
        alice.sync(&site).await;
        for _ in 0..5 {
            let id = site.create("bob").await;
            let content = object(json!({ "v": "x".repeat(60_000) }));
            site.change("alice", &id, MembershipChange::Join(content)).await;
        }
        assert!(!alice.fits(&site, 580_000).await);
        assert!(alice.fits(&site, 620_000).await);
        // They are released once the memberships are known: an answer with these events has them
        // only once.
        let all = Client { since: alice.since, ..Client::new("alice") };
        assert!(!all.fits(&site, 880_000).await, "five events and their serialized form");
        assert!(all.fits(&site, 1_100_000).await);
    }

    /// Five rooms whose topics take 120,000 bytes each, and 60,000 more as stripped state.
    async fn stripped_state_counts(db: TestDatabase) {
        let site = Site::start(db).await;
        let mut alice = Client::new("alice");
        alice.sync(&site).await;
        for _ in 0..5 {
            let id = site.create("bob").await;
            site.set("bob", &id, "m.room.topic", "", json!({ "v": "x".repeat(60_000) })).await;
            site.change("bob", &id, MembershipChange::Invite(user_id("alice"))).await;
        }
        assert!(!alice.fits(&site, 850_000).await);
        assert!(alice.fits(&site, 1_000_000).await);
    }
}
