//! Joining, inviting, leaving, kicking, banning, knocking.

use ruma::{CanonicalJsonObject, RoomVersionId};
use serde_json::json;
use stoa_rooms::{CreateRoom, MembershipChange as Change, Preset};
use stoa_testing::both_databases;
use tokio::task::JoinSet;

use crate::support::{ALICE, BOB, CHARLIE, World, assert_forbidden, object, user};

fn join() -> Change {
    Change::Join(CanonicalJsonObject::new())
}

both_databases! {
    async fn joining_a_private_room_requires_an_invite(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |create| create.preset = Preset::PrivateChat).await;
        assert_forbidden(world.change(&room, BOB, join()).await);
        world.invite(&room, ALICE, BOB).await;
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("invite"));
        let committed = world.rooms.known.committed(&room).await.unwrap();
        assert_eq!((committed.joined, committed.invited), (1, 1));
        world.join(&room, BOB).await;
        let committed = world.rooms.known.committed(&room).await.unwrap();
        assert_eq!((committed.joined, committed.invited), (2, 0));
        let memberships = world.rooms.memberships.of(&user(BOB)).await.unwrap();
        assert_eq!(memberships[&room.nid].membership, ruma::events::room::member::MembershipState::Join);
    }

    async fn joining_again_changes_nothing(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let one = world.join(&room, BOB).await;
        assert_eq!(world.join(&room, BOB).await, one);
        let with_key = Change::Join(object(json!({ "foo": "bar" })));
        let two = world.change(&room, BOB, with_key).await.unwrap();
        assert_ne!(one, two);
        let member = world.state(&room, "m.room.member", BOB).await;
        assert_eq!(member, Some(json!({ "membership": "join", "foo": "bar" })));
    }

    async fn some_users_cannot_be_invited(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        world.join(&room, BOB).await;
        assert_forbidden(world.change(&room, ALICE, Change::Invite(user(ALICE))).await);
        assert_forbidden(world.change(&room, ALICE, Change::Invite(user(BOB))).await);
        // Members of a public room need a higher level to invite others.
        assert_forbidden(world.change(&room, BOB, Change::Invite(user(CHARLIE))).await);
        world.change(&room, ALICE, Change::Ban(user(CHARLIE))).await.unwrap();
        assert_forbidden(world.change(&room, ALICE, Change::Invite(user(CHARLIE))).await);
    }

    async fn only_joined_or_invited_users_can_be_kicked(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let kick = || Change::Kick(user(BOB));
        assert_forbidden(world.change(&room, ALICE, kick()).await);
        world.join(&room, BOB).await;
        world.change(&room, ALICE, kick()).await.unwrap();
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("leave"));
        assert_forbidden(world.change(&room, ALICE, kick()).await);
        world.invite(&room, ALICE, BOB).await;
        world.change(&room, ALICE, kick()).await.unwrap();
        world.join(&room, BOB).await;
        assert_forbidden(world.change(&room, BOB, Change::Kick(user(ALICE))).await);
    }

    async fn banned_users_stay_out_until_they_are_unbanned(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        world.join(&room, BOB).await;
        world.change(&room, ALICE, Change::Ban(user(BOB))).await.unwrap();
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("ban"));
        assert_forbidden(world.change(&room, BOB, join()).await);
        assert_forbidden(world.change(&room, BOB, Change::Leave).await);
        assert_forbidden(world.change(&room, ALICE, Change::Kick(user(BOB))).await);
        world.change(&room, ALICE, Change::Unban(user(BOB))).await.unwrap();
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("leave"));
        assert_forbidden(world.change(&room, ALICE, Change::Unban(user(BOB))).await);
        world.join(&room, BOB).await;
    }

    async fn a_user_who_is_not_joined_cannot_ban_whatever_their_level(db: TestDatabase) {
        let world = World::start(db).await;
        let version = Some(RoomVersionId::V11);
        let room = world.create(ALICE, |create| create.version = version).await;
        world.join(&room, BOB).await;
        let levels = json!({ "users": { CHARLIE: 100 } });
        world.set(&room, ALICE, ("m.room.power_levels", ""), levels).await;
        assert_forbidden(world.change(&room, CHARLIE, Change::Ban(user(BOB))).await);
    }

    async fn an_invite_can_be_rejected_when_the_room_is_empty(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |create| create.preset = Preset::PrivateChat).await;
        world.invite(&room, ALICE, BOB).await;
        world.leave(&room, ALICE).await;
        world.leave(&room, BOB).await;
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("leave"));
        let committed = world.rooms.known.committed(&room).await.unwrap();
        assert_eq!((committed.joined, committed.invited), (0, 0));
        assert_forbidden(world.change(&room, CHARLIE, Change::Leave).await);
    }

    async fn knocking_requires_a_join_rule_that_allows_it(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        assert_forbidden(world.change(&room, BOB, Change::Knock).await);
        let rule = json!({ "join_rule": "knock" });
        world.set(&room, ALICE, ("m.room.join_rules", ""), rule).await;
        world.change(&room, BOB, Change::Knock).await.unwrap();
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("knock"));
        assert_forbidden(world.change(&room, BOB, join()).await);
        world.invite(&room, ALICE, BOB).await;
        world.join(&room, BOB).await;
    }

    async fn a_restricted_room_lets_in_the_members_of_another(db: TestDatabase) {
        for version in [RoomVersionId::V8, RoomVersionId::V10, RoomVersionId::V12] {
            let world = World::start(db).await;
            let space = world.create(ALICE, |create| create.version = Some(version.clone())).await;
            let room = world.create(ALICE, |create| create.version = Some(version)).await;
            let allow = json!([{ "type": "m.room_membership", "room_id": space.id }]);
            let rule = json!({ "join_rule": "restricted", "allow": allow });
            world.set(&room, ALICE, ("m.room.join_rules", ""), rule).await;
            assert_forbidden(world.change(&room, BOB, join()).await);
            world.join(&space, BOB).await;
            world.join(&room, BOB).await;
            let member = world.state(&room, "m.room.member", BOB).await.unwrap();
            assert_eq!(member["join_authorised_via_users_server"], ALICE);
            // Users without access through the other room can still be invited.
            world.invite(&room, ALICE, CHARLIE).await;
            world.join(&room, CHARLIE).await;
        }
    }

    async fn an_authorizing_user_is_found_however_many_members_there_are(db: TestDatabase) {
        let world = World::start(db).await;
        let space = world.create(ALICE, |_| {}).await;
        world.join(&space, BOB).await;
        let allow = json!([{ "type": "m.room_membership", "room_id": space.id }]);
        let rule = json!({ "join_rule": "restricted", "allow": allow });
        for version in [RoomVersionId::V8, RoomVersionId::V12] {
            let levels = |create: &mut CreateRoom| {
                create.version = Some(version.clone());
                create.power_level_override = object(json!({ "invite": 50 }));
            };
            let room = world.create("@zelda:test", levels).await;
            let mut joins = JoinSet::new();
            for index in 0..1_001 {
                let (world, room) = (world.clone(), room.clone());
                joins.spawn(async move { world.join(&room, &format!("@a{index}:test")).await });
            }
            joins.join_all().await;
            world.set(&room, "@zelda:test", ("m.room.join_rules", ""), rule.clone()).await;
            world.join(&room, BOB).await;
            let member = world.state(&room, "m.room.member", BOB).await.unwrap();
            assert_eq!(member["join_authorised_via_users_server"], "@zelda:test");
            // A user who has left cannot authorize joins.
            world.leave(&room, BOB).await;
            world.leave(&room, "@zelda:test").await;
            assert_forbidden(world.change(&room, BOB, join()).await);
        }
    }

    async fn any_member_authorizes_joins_if_everybody_can_invite(db: TestDatabase) {
        let world = World::start(db).await;
        let space = world.create(ALICE, |_| {}).await;
        world.join(&space, BOB).await;
        let allow = json!([{ "type": "m.room_membership", "room_id": space.id }]);
        let rule = json!({ "join_rule": "restricted", "allow": allow });
        let room = world
            .create(ALICE, |create| {
                create.version = Some(RoomVersionId::V10);
                create.initial_state = vec![("m.room.join_rules".into(), String::new(), object(rule))];
                create.power_level_override =
                    object(json!({ "invite": 0, "users": { ALICE: 100, CHARLIE: -1 } }));
            })
            .await;
        for who in [CHARLIE, "@dave:test"] {
            world.invite(&room, ALICE, who).await;
            world.join(&room, who).await;
        }
        world.leave(&room, ALICE).await;
        world.join(&room, BOB).await;
        let member = world.state(&room, "m.room.member", BOB).await.unwrap();
        assert_eq!(member["join_authorised_via_users_server"], "@dave:test");
    }

    async fn users_cannot_authorize_their_own_restricted_join(db: TestDatabase) {
        let world = World::start(db).await;
        let space = world.create(ALICE, |_| {}).await;
        let room = world.create(ALICE, |_| {}).await;
        let allow = json!([{ "type": "m.room_membership", "room_id": space.id }]);
        let rule = json!({ "join_rule": "restricted", "allow": allow });
        world.set(&room, ALICE, ("m.room.join_rules", ""), rule).await;
        let forged = json!({ "join_authorised_via_users_server": ALICE });
        assert_forbidden(world.change(&room, BOB, Change::Join(object(forged))).await);
        let forged = json!({ "membership": "join", "join_authorised_via_users_server": ALICE });
        assert_forbidden(world.try_set(&room, BOB, ("m.room.member", BOB), forged).await);
        assert_eq!(world.membership(&room, BOB).await, None);
    }

    async fn membership_can_be_set_through_the_state_endpoint(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world.create(ALICE, |_| {}).await;
        let own = ("m.room.member", BOB);
        world.set(&room, BOB, own, json!({ "membership": "join", "displayname": "B" })).await;
        let with_key = json!({ "membership": "join", "displayname": "B", "foo": 1 });
        world.set(&room, BOB, own, with_key.clone()).await;
        assert_eq!(world.state(&room, "m.room.member", BOB).await, Some(with_key));
        assert_forbidden(world.try_set(&room, ALICE, own, json!({ "membership": "join" })).await);
        world.set(&room, ALICE, own, json!({ "membership": "ban" })).await;
        assert_eq!(world.membership(&room, BOB).await.as_deref(), Some("ban"));
        // Bob's own earlier state does not let them back in.
        assert_forbidden(world.try_send(&room, BOB, "x").await);
    }

    async fn a_user_who_left_cannot_repeat_their_state_event(db: TestDatabase) {
        let world = World::start(db).await;
        let room = world
            .create(ALICE, |create| {
                create.power_level_override = object(json!({ "state_default": 0 }));
            })
            .await;
        world.join(&room, BOB).await;
        let set = || world.try_set(&room, BOB, ("x.y", ""), json!({ "x": 1 }));
        let id = set().await.unwrap();
        assert_eq!(set().await.unwrap(), id);
        world.leave(&room, BOB).await;
        assert_forbidden(set().await);
    }
}
