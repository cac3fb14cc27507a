use ruma::UserId;
use stoa_base::{EventNid, Pos, RoomNid};
use stoa_storage::repo::memberships::{self, StoredMembership};
use stoa_testing::{TestNode, both_databases, sample};

use super::{UNUSUAL, alice, bob, refused};
use crate::{with, write};

fn user(name: &str) -> String {
    format!("@{name}:test")
}

/// At positions 1 to 7, each from the event with ten times that number. The last overwrites the
/// first.
async fn fill(node: &TestNode) {
    for (nid, room, name, membership) in [
        (10, 7, "alice", "invite"),
        (20, 7, "bob", "join"),
        (30, 7, "Carol", "join"),
        (40, 7, "dan", "ban"),
        (50, 8, "alice", "leave"),
        (60, 9, "bob", "join"),
        (70, 7, "alice", "join"),
    ] {
        write(node, sample::membership(nid, RoomNid(room), &user(name), membership)).await;
    }
}

fn row(user_id: &UserId, room: i64, membership: &str, pos: i64) -> StoredMembership {
    StoredMembership {
        user_id: user_id.to_string(),
        room: RoomNid(room),
        membership: membership.to_owned(),
        event: EventNid(pos * 10),
        sender: "@alice:test".to_owned(),
        pos: Pos(pos),
        forgotten: false,
    }
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert_eq!(memberships::of_user(&mut conn, "@alice:test").await.unwrap(), []);
        let found = memberships::of_user_in_room(&mut conn, "@alice:test", RoomNid(7)).await;
        assert_eq!(found.unwrap(), None);
        assert_eq!(memberships::of_room(&mut conn, RoomNid(7), "join", 9).await.unwrap(), []);
        for rooms in [vec![], vec![RoomNid(7)]] {
            let found = memberships::first_of_rooms(&mut conn, rooms, ["join", "invite"], 9).await;
            assert_eq!(found.unwrap(), []);
        }
    }

    async fn of_a_user_by_room(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let of_alice = [row(alice(), 7, "join", 7), row(alice(), 8, "leave", 5)];
        assert_eq!(memberships::of_user(&mut conn, "@alice:test").await.unwrap(), of_alice);
        let of_bob = [row(bob(), 7, "join", 2), row(bob(), 9, "join", 6)];
        assert_eq!(memberships::of_user(&mut conn, "@bob:test").await.unwrap(), of_bob);
        for (user_id, room, expected) in [
            ("@bob:test", 9, Some(row(bob(), 9, "join", 6))),
            ("@bob:test", 8, None),
            ("@Bob:test", 9, None),
        ] {
            let found = memberships::of_user_in_room(&mut conn, user_id, RoomNid(room)).await;
            assert_eq!(found.unwrap(), expected);
        }
    }

    async fn of_a_room_by_user_and_limited(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let order = ["Carol", "alice", "bob"].map(user);
        for (membership, limit, expected) in [
            ("join", 9, &order[..]),
            ("join", 2, &order[..2]),
            ("join", 0, &[]),
            ("join", i64::MAX, &order[..]),
            ("ban", 9, &["@dan:test".to_owned()]),
            ("invite", 9, &[]),
        ] {
            let found = memberships::of_room(&mut conn, RoomNid(7), membership, limit).await.unwrap();
            let users: Vec<_> = found.into_iter().map(|row| row.user_id).collect();
            assert_eq!(users, expected, "{membership} {limit}");
        }
    }

    async fn the_first_of_each_room(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let mut conn = node.store.read().await.unwrap();
        let rooms = || [RoomNid(9), RoomNid(7), RoomNid(10), RoomNid(8)];
        for (of, limit, expected) in [
            (["join", "invite"], 9, vec![(7, vec!["bob", "Carol", "alice"]), (9, vec!["bob"])]),
            (["join", "join"], 2, vec![(7, vec!["bob", "Carol"]), (9, vec!["bob"])]),
            (["leave", "ban"], 9, vec![(7, vec!["dan"]), (8, vec!["alice"])]),
            (["join", "invite"], 0, vec![]),
        ] {
            let found = memberships::first_of_rooms(&mut conn, rooms(), of, limit).await;
            let mut found = found.unwrap();
            found.sort();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(room, names)| (RoomNid(room), names.into_iter().map(user).collect()))
                .collect();
            assert_eq!(found, expected, "{of:?} {limit}");
        }
    }

    async fn newer_or_forgotten_memberships(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        write(&node, with(|append| append.forgotten_rooms.push(
            stoa_storage::log::ForgottenRoomRow { user_id: user("alice"), room_nid: RoomNid(8) },
        ))).await;
        let mut conn = node.store.read().await.unwrap();
        for (names, after, limit, expected) in [
            (&["alice", "bob", "alice"][..], 0, 9, vec![2, 5, 6, 7]),
            // Forgotten rooms are included no matter when they were left.
            (&["alice", "bob"], 6, 9, vec![5, 7]), (&["bob"], 2, 9, vec![6]),
            (&["bob"], i64::MAX, 9, vec![]), (&["nobody"], i64::MIN, 9, vec![]), (&[], 0, 9, vec![]),
        ] {
            let users = names.iter().map(|name| user(name));
            let found = memberships::newer_or_forgotten(&mut conn, users, Pos(after), limit).await;
            let mut found: Vec<i64> = found.unwrap().iter().map(|row| row.pos.0).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{names:?} after {after}");
        }
        for limit in [0, 1, 3] {
            let users = ["alice", "bob"].map(user);
            let found = memberships::newer_or_forgotten(&mut conn, users, Pos(0), limit).await;
            assert_eq!(i64::try_from(found.unwrap().len()).unwrap(), limit);
        }
        let null = ["a\0b".to_owned()];
        refused(memberships::newer_or_forgotten(&mut conn, null, Pos(0), 9).await);
    }

    async fn the_joined_with_their_events(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        for nid in [20, 30, 70] {
            write(&node, sample::message(nid, RoomNid(7))).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let order = [("Carol", 30), ("alice", 70), ("bob", 20)];
        for (after, limit, expected) in [
            ("", 9, &order[..]), ("", 2, &order[..2]), ("@Carol:test", 9, &order[1..]),
            ("@bob:test", 9, &[]), ("", 0, &[]), ("", i64::MAX, &order[..]),
        ] {
            let found = memberships::joined_events(&mut conn, RoomNid(7), after, limit).await.unwrap();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, nid)| (user(name), sample::event(*nid, RoomNid(7)).json))
                .collect();
            assert_eq!(found, expected, "after {after}, {limit}");
        }
        // If the event does not exist, neither does the member.
        assert_eq!(memberships::joined_events(&mut conn, RoomNid(9), "", 9).await.unwrap(), []);
        refused(memberships::joined_events(&mut conn, RoomNid(7), "a\0b", 9).await);
    }

    async fn the_joined_of_one_server(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let users = [
            "@a:test", "@b:TEST", "@c:my.test", "@d:test", "@e test:test", "@f:test:80", "@g:tes",
            "@test:other",
        ];
        for (nid, user_id) in (1..).zip(users) {
            write(&node, sample::membership(nid, RoomNid(7), user_id, "join")).await;
        }
        for (nid, user_id) in [(20, "@left:test"), (21, "@d:test")] {
            let (room, membership) = if nid == 20 { (7, "leave") } else { (8, "join") };
            write(&node, sample::membership(nid, RoomNid(room), user_id, membership)).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let order = ["@a:test", "@d:test", "@e test:test"];
        for (server, after, limit, expected) in [
            ("test", "", 9, &order[..]), ("test", "", 2, &order[..2]), ("test", "@a:test", 9, &order[1..]),
            ("test", "", 0, &[]), ("TEST", "", 9, &["@b:TEST"]), ("test:80", "", 9, &["@f:test:80"]),
            ("est", "", 9, &[]), ("none", "", i64::MAX, &[]),
        ] {
            let server = <&ruma::ServerName>::try_from(server).unwrap();
            let found =
                memberships::joined_of_server(&mut conn, RoomNid(7), server, after, limit).await;
            assert_eq!(found.unwrap(), expected, "{server} after {after}, {limit}");
        }
    }

    /// Users of other servers can have names with any character except a colon and a null.
    async fn the_first_of_a_room_may_have_unusual_names(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let users: Vec<String> = UNUSUAL.iter().map(|text| format!("@{}:test", text.replace(':', ""))).collect();
        for (nid, user_id) in (1..).zip(&users) {
            write(&node, sample::membership(nid, RoomNid(7), user_id, "join")).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let of = ["join", "invite"];
        let found = memberships::first_of_rooms(&mut conn, [RoomNid(7)], of, 100).await;
        assert_eq!(found.unwrap(), [(RoomNid(7), users)]);
    }

    async fn a_user_who_left_a_room_can_forget_it(db: TestDatabase) {
        let node = TestNode::start(db).await;
        fill(&node).await;
        let forgets = with(|append| {
            for (name, room_nid) in [("alice", RoomNid(8)), ("bob", RoomNid(9))] {
                append.forgotten_rooms.push(stoa_storage::log::ForgottenRoomRow {
                    user_id: user(name), room_nid,
                });
            }
        });
        write(&node, forgets).await;
        let mut conn = node.store.read().await.unwrap();
        for (user_id, room, forgotten) in [("@alice:test", 8, true), ("@bob:test", 9, false)] {
            let found = memberships::of_user_in_room(&mut conn, user_id, RoomNid(room)).await;
            assert_eq!(found.unwrap().unwrap().forgotten, forgotten, "{user_id}");
        }
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let room = RoomNid(i64::MAX);
        for text in UNUSUAL {
            write(&node, sample::membership(i64::MIN, room, text, text)).await;
            let mut conn = node.store.read().await.unwrap();
            let found = memberships::of_user_in_room(&mut conn, text, room).await.unwrap().unwrap();
            assert_eq!((found.membership.as_str(), found.event), (text, EventNid(i64::MIN)));
            let found = std::slice::from_ref(&found);
            assert_eq!(memberships::of_user(&mut conn, text).await.unwrap(), found);
            assert_eq!(memberships::of_room(&mut conn, room, text, 9).await.unwrap(), found);
        }
        let mut conn = node.store.read().await.unwrap();
        refused(memberships::of_user(&mut conn, "a\0b").await);
        refused(memberships::of_user_in_room(&mut conn, "a\0b", room).await);
        refused(memberships::of_room(&mut conn, room, "a\0b", 1).await);
        refused(memberships::first_of_rooms(&mut conn, [room], ["a\0b", ""], 1).await);
    }
}
