//! Reading whole rooms without evicting what others need from memory.

use ruma::user_id;
use serde_json::{Value, json};
use stoa_base::Allowance;
use stoa_rooms::{
    Recipient, RoomError, RoomsOptions,
    state::{Part, StateKey},
};
use stoa_storage::{StatementKind, Store};
use stoa_testing::{TestRooms, both_databases};

use crate::support::{ALICE, World};

fn reads(store: &Store) -> u64 {
    let counts = store.statements();
    counts.iter().find(|(kind, _)| *kind == StatementKind::Read).unwrap().1
}

both_databases! {
    async fn a_large_room_evicts_nothing_else_from_memory(db: TestDatabase) {
        const MEMBERS: usize = 700;
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        for index in 1..MEMBERS {
            world.join(&room, &format!("@user{index}:test")).await;
        }
        let name = json!({ "membership": "join", "displayname": "Alice" });
        world.set(&room, ALICE, ("m.room.member", ALICE), name).await;
        let sent = world.send(&room, ALICE, "hello").await;

        // The cache has space for about fifty events.
        let options = RoomsOptions { event_bytes: 128 << 10, ..RoomsOptions::default() };
        let TestRooms { node, rooms } = TestRooms::start_with(db, options).await;
        let room = rooms.known.by_id(&room.id).await.unwrap();
        let hot = rooms.unchecked_events.by_id(&sent).await.unwrap().unwrap().nid;
        rooms.unchecked_events.get(hot).await.unwrap();
        let state = rooms.visible_states.now(user_id!("@alice:test"), &room).await.unwrap();
        let user_id = user_id!("@alice:test");
        let recipient = Recipient { user_id, device: None, with_room_id: true };

        // A state that takes more memory than is allowed is not read to its end.
        let before = reads(&node.store);
        let little = Allowance::new(10_000);
        let refused = rooms.states.entries_of([state], Part::Members, &little).await.unwrap_err();
        assert!(matches!(refused, RoomError::Exceeded(_)), "{refused}");
        assert_eq!(reads(&node.store) - before, 2, "the first two levels of the tree");
        // The same holds for single entries of it.
        let before = reads(&node.store);
        let little = Allowance::new(10_000);
        let members = (1..MEMBERS).map(|index| format!("@user{index}:test"));
        let wanted = members.map(|user| (state, StateKey::new("m.room.member", &user)));
        let refused = rooms.states.entries_at(wanted, &little).await;
        assert!(matches!(refused, Err(RoomError::Exceeded(_))));
        assert_eq!(reads(&node.store) - before, 0);

        let any = Allowance::unlimited();
        // This reads the levels of the tree, the pages of events, and the erased users. The
        // replaced events are not read.
        let before = reads(&node.store);
        let write = || rooms.client_format.write_state(recipient, state, Part::Members, |_| true, &any);
        let members = write().await.unwrap();
        let cold = reads(&node.store) - before;
        assert_eq!(members.len(), MEMBERS);
        assert!(cold <= 10, "{cold}");
        // Now the tree is in memory, and the members are not.
        let before = reads(&node.store);
        write().await.unwrap();
        assert_eq!(reads(&node.store) - before, 4, "pages that grow");

        let before = reads(&node.store);
        rooms.unchecked_events.get(hot).await.unwrap();
        assert_eq!(reads(&node.store) - before, 0, "it was evicted");
        let profiles = rooms.members.joined(user_id!("@alice:test"), &room).await.unwrap();
        assert_eq!(profiles.len(), MEMBERS);
        assert_eq!(profiles[ALICE].displayname.as_deref(), Some("Alice"));
        let alice = members.iter().map(|text| serde_json::from_str::<Value>(text.get()).unwrap());
        let alice = alice.into_iter().find(|event| event["state_key"] == ALICE).unwrap();
        assert_eq!(alice["content"]["displayname"], "Alice");
        assert_eq!(alice["unsigned"].get("prev_content"), None);
    }
}
