//! Changing a profile, also in the rooms that the user is in.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use stoa_accounts::Profiles;
use stoa_base::Actor;
use stoa_http::{Class, Limits, Result, detached};
use stoa_rooms::{MemberProfile, Room, RoomError, Rooms};
use tokio::time::Instant;

/// How many rooms are written to at the same time.
const ROOMS_AT_ONCE: usize = 16;

/// For how long rooms are tried again in which the server failed (because it was busy, for
/// example), and the pause before the first retry. Each pause is twice as long as the previous one.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Sets a field of the actor's profile, or deletes it. A name or avatar is changed in their rooms too.
pub(crate) async fn set_profile_field(
    profiles: &Arc<Profiles>,
    rooms: &Arc<Rooms>,
    limits: &Limits,
    actor: &Actor,
    field: &str,
    value: Option<&Value>,
) -> Result<()> {
    let is_in_rooms = matches!(field, "displayname" | "avatar_url");
    if is_in_rooms {
        let memberships = rooms.memberships.of(&actor.user_id).await?;
        let joined = memberships.values().filter(|row| row.is_joined()).count();
        limits.charge(Class::Profiles, &actor.user_id, joined)?;
    }
    profiles.set_field(actor, field, value).await?;
    // Also if nothing has changed: a client that got no answer because the server went down
    // half-way repeats the request, and the remaining rooms are then written. Nothing is written to
    // the others.
    if is_in_rooms {
        // In a task of its own, so that a client that hangs up does not stop it before all rooms
        // are written.
        let update =
            update_profile_in_rooms(Arc::clone(profiles), Arc::clone(rooms), actor.clone());
        detached(update).await??;
    }
    Ok(())
}

/// Writes the actor's profile into all rooms that they are joined to. If a room still cannot be
/// written to after several tries, the others are written all the same, and the request is refused
/// so that the client repeats it.
async fn update_profile_in_rooms(
    profiles: Arc<Profiles>,
    rooms: Arc<Rooms>,
    actor: Actor,
) -> Result<()> {
    loop {
        let profile = profiles.member_profile(&actor.user_id).await?;
        let memberships = rooms.memberships.of(&actor.user_id).await?;
        let joined = memberships.values().filter(|row| row.is_joined());
        let joined = rooms.known.by_nids(joined.map(|row| row.room)).await?;
        let mut left: Vec<Arc<Room>> = joined.into_values().collect();
        let give_up = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let error;
            (left, error) = update_profile_in(&rooms, &actor, &profile, left).await;
            let Some(error) = error else { break };
            if Instant::now() + pause >= give_up {
                return Err(error.into());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        // If another request changed it meanwhile, the last one to run writes the stored profile.
        if profiles.member_profile(&actor.user_id).await? == profile {
            return Ok(());
        }
    }
}

/// Writes the actor's profile into these rooms. Returns those in which the server failed, and the
/// last error.
async fn update_profile_in(
    rooms: &Rooms,
    actor: &Actor,
    profile: &MemberProfile,
    joined: Vec<Arc<Room>>,
) -> (Vec<Arc<Room>>, Option<RoomError>) {
    let mut updates = stream::iter(joined)
        .map(|room| async move {
            let done = rooms.membership_changes.update_profile(actor, &room, profile).await;
            (room, done)
        })
        .buffer_unordered(ROOMS_AT_ONCE);
    let (mut left, mut last_error) = (Vec::new(), None);
    while let Some((room, done)) = updates.next().await {
        match done {
            Ok(()) => {}
            // The user may have left in the meantime.
            Err(error @ (RoomError::Forbidden(_) | RoomError::NotFound(_))) => {
                tracing::info!(room_id = %room.id, %error, "a profile was not changed in a room");
            }
            Err(error) => {
                left.push(room);
                last_error = Some(error);
            }
        }
    }
    (left, last_error)
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::{Value, json};
    use stoa_base::Actor;
    use stoa_testing::{TestClient, TestServer, both_databases};

    const NAME: &str = "/_matrix/client/v3/profile/@alice:test/displayname";

    async fn create_rooms(client: &TestClient, count: usize) -> Vec<String> {
        let mut rooms = Vec::new();
        for _ in 0..count {
            let room = client.post("/_matrix/client/v3/createRoom", json!({})).await.ok();
            rooms.push(room["room_id"].as_str().expect("a room ID").to_owned());
        }
        rooms
    }

    async fn member(client: &TestClient, room: &str) -> Value {
        let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/@alice:test");
        client.get(&path).await.ok()
    }

    both_databases! {
        async fn a_name_and_an_avatar_are_shown_in_rooms(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let rooms = create_rooms(&alice, 3).await;
            alice.put(NAME, json!({ "displayname": "Alice" })).await.ok();
            let avatar = NAME.replace("displayname", "avatar_url");
            alice.put(&avatar, json!({ "avatar_url": "LemurLover" })).await.ok();
            for room in &rooms {
                let shown = member(&alice, room).await;
                assert_eq!(shown["membership"], "join");
                assert_eq!(shown["displayname"], "Alice");
                assert_eq!(shown["avatar_url"], "LemurLover");
            }
            alice.put(&avatar, json!({ "avatar_url": null })).await.ok();
            assert!(member(&alice, &rooms[0]).await.get("avatar_url").is_none());
        }

        async fn a_request_that_is_repeated_reaches_the_rooms_that_were_left(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let rooms = create_rooms(&alice, 2).await;
            // The state left by a server that went down after writing the profile and before
            // writing the rooms.
            let actor = Actor::user(user_id!("@alice:test"));
            let profiles = &server.state().accounts.profiles;
            profiles.set_field(&actor, "displayname", Some(&"Alice".into())).await.unwrap();
            assert!(member(&alice, &rooms[0]).await.get("displayname").is_none());
            alice.put(NAME, json!({ "displayname": "Alice" })).await.ok();
            for room in &rooms {
                assert_eq!(member(&alice, room).await["displayname"], "Alice");
            }
        }

        async fn a_server_that_is_busy_for_a_moment_reaches_every_room(db: TestDatabase) {
            let server = TestServer::start_with(db, |_, environment| {
                // Of sixteen rooms written to at once, most are refused at first.
                environment.writer.queue = 3;
            })
            .await;
            let alice = server.register("alice").await;
            let rooms = create_rooms(&alice, 17).await;
            alice.put(NAME, json!({ "displayname": "Alice" })).await.ok();
            for room in &rooms {
                assert_eq!(member(&alice, room).await["displayname"], "Alice");
            }
        }

        async fn rooms_end_with_the_profile_however_many_change_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let rooms = create_rooms(&alice, 4).await;
            let requests = (0..8).map(|count| {
                let alice = alice.clone();
                tokio::spawn(async move {
                    let name = format!("Alice {count}");
                    alice.put(NAME, json!({ "displayname": name })).await.ok();
                })
            });
            for request in requests.collect::<Vec<_>>() {
                request.await.unwrap();
            }
            let profile = alice.get(NAME).await.ok();
            for room in &rooms {
                let shown = member(&alice, room).await;
                assert_eq!(shown["displayname"], profile["displayname"]);
            }
        }
    }
}
