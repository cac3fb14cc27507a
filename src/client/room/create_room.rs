//! `POST /_matrix/client/v3/createRoom`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use ruma::{
    CanonicalJsonObject, OwnedUserId,
    api::client::room::{
        Visibility,
        create_room::v3::{Request, Response, RoomPreset},
    },
    events::StateEventType,
    serde::Raw,
};
use serde::{Deserialize, de::DeserializeOwned};
use stoa_accounts::Profiles;
use stoa_base::Actor;
use stoa_directory::Directory;
use stoa_http::{Answer, Error, Result, RumaSend};
use stoa_rooms::{CreateRoom, MemberProfile, Preset, Rooms};

use crate::ops::{self, change_membership::check_invitee, create_room::Findable, state_checks};

/// How many users can be invited to a new room, and how many state events can be given: all of it
/// is written at once.
const MAX_INVITES: usize = 500;
const MAX_INITIAL_STATE: usize = 500;

/// Creates a room.
pub(crate) async fn create_room(
    State(rooms): State<Arc<Rooms>>,
    State(profiles): State<Arc<Profiles>>,
    State(directory): State<Arc<Directory>>,
    request: RumaSend<Request>,
) -> Result<Answer<Response>> {
    let (actor, session, budget, body) =
        (request.actor(), request.session, request.budget, request.body);
    let is_public = match body.visibility {
        Visibility::Public => true,
        Visibility::Private => false,
        _ => return Err(Error::invalid_param("`visibility` must be `public` or `private`.")),
    };
    let alias = body.room_alias_name.as_deref();
    let alias = alias.map(|name| directory.local_alias(name)).transpose()?;
    check_size(&body)?;
    budget.charge(&actor.user_id, body.invite.len() + body.initial_state.len())?;
    let create = read(&rooms, &profiles, &actor, body).await?;
    for (kind, key, content) in &create.initial_state {
        state_checks::check_new(&rooms, alias.as_deref(), (kind, key), content)?;
    }
    let (session, findable) = (session.id.clone(), Findable { alias, is_public });
    let create = ops::create_room::create_room(rooms, directory, actor, session, create, findable);
    let created = create.await?;
    Ok(Answer(Response::new(created)))
}

fn check_size(body: &Request) -> Result<()> {
    if body.invite.len() > MAX_INVITES {
        let message = format!("A room may begin with {MAX_INVITES} invited users at most.");
        return Err(Error::too_large(message));
    }
    if body.initial_state.len() > MAX_INITIAL_STATE {
        let message = format!("A room may begin with {MAX_INITIAL_STATE} entries of state.");
        return Err(Error::too_large(message));
    }
    Ok(())
}

/// The room that the request describes, without its alias.
async fn read(
    rooms: &Rooms,
    profiles: &Profiles,
    actor: &Actor,
    body: Request,
) -> Result<CreateRoom> {
    if !body.invite_3pid.is_empty() {
        return Err(Error::invalid_param("Users can only be invited by their user ID."));
    }
    let preset = match (body.preset, body.visibility) {
        (None, Visibility::Public) | (Some(RoomPreset::PublicChat), _) => Preset::PublicChat,
        (None | Some(RoomPreset::PrivateChat), _) => Preset::PrivateChat,
        (Some(RoomPreset::TrustedPrivateChat), _) => Preset::TrustedPrivateChat,
        (Some(unknown), _) => {
            return Err(Error::invalid_param(format!("There is no preset `{unknown}`.")));
        }
    };
    let mut invite: Vec<(OwnedUserId, MemberProfile)> = Vec::new();
    for invitee in body.invite.into_iter().collect::<BTreeSet<_>>() {
        check_invitee(rooms, &invitee)?;
        let profile = profiles.member_profile(&invitee).await?;
        invite.push((invitee, profile));
    }
    let initial_state = body.initial_state.iter().map(initial_state).collect::<Result<_>>()?;
    Ok(CreateRoom {
        version: body.room_version,
        preset,
        creation_content: optional(body.creation_content.as_ref())?,
        power_level_override: optional(body.power_level_content_override.as_ref())?,
        canonical_alias: None,
        initial_state,
        name: body.name,
        topic: body.topic,
        invite,
        is_direct: body.is_direct,
        profile: profiles.member_profile(&actor.user_id).await?,
    })
}

fn initial_state<T>(given: &Raw<T>) -> Result<(StateEventType, String, CanonicalJsonObject)> {
    #[derive(Deserialize)]
    struct InitialState {
        #[serde(rename = "type")]
        kind: StateEventType,
        #[serde(default)]
        state_key: String,
        content: CanonicalJsonObject,
    }
    let InitialState { kind, state_key, content } = parse(given)?;
    Ok((kind, state_key, content))
}

fn optional<T>(given: Option<&Raw<T>>) -> Result<CanonicalJsonObject> {
    given.map_or_else(|| Ok(CanonicalJsonObject::new()), parse)
}

fn parse<T, U: DeserializeOwned>(given: &Raw<T>) -> Result<U> {
    serde_json::from_str(given.json().get()).map_err(|error| Error::bad_json(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;
    use stoa_base::ManualClock;
    use stoa_testing::{Backend, TestServer, both_databases, in_room};

    const PATH: &str = "/_matrix/client/v3/createRoom";

    both_databases! {
        async fn rooms_that_are_made_at_the_same_time_are_not_one(db: TestDatabase) {
            let clock = ManualClock::at(1_700_000_000_000);
            let start = async || {
                TestServer::start_with(db, |_, environment| environment.clock = clock.clone().into()).await
            };
            let mut nodes = vec![start().await];
            if db.backend() == Backend::Postgres {
                nodes.push(start().await);
            }
            let alice = nodes[0].register("alice").await;
            let mut rooms = HashSet::new();
            for node in &nodes {
                let alice = node.client().with_token(alice.token().unwrap());
                let create = || alice.create_room(json!({}));
                let made = tokio::join!(create(), create(), create());
                rooms.extend([made.0, made.1, made.2]);
            }
            assert_eq!(rooms.len(), 3 * nodes.len());
        }

        async fn initial_state_is_checked_like_any_other(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            alice.create_room(json!({ "room_alias_name": "there" })).await;
            let try_create = async |kind: &str, key: &str, content: serde_json::Value| {
                let entry = json!({ "type": kind, "state_key": key, "content": content });
                alice.post(PATH, json!({ "room_alias_name": "x", "initial_state": [entry] })).await
            };
            let invite = json!({ "membership": "invite" });
            for (kind, key, content, status, code) in [
                ("m.room.canonical_alias", "", json!({ "alias": "#there:test" }), 400, "M_BAD_ALIAS"),
                ("m.room.canonical_alias", "", json!({ "alias": "#no:test" }), 400, "M_BAD_ALIAS"),
                ("m.room.canonical_alias", "", json!({ "alias": "%:test" }), 400, "M_INVALID_PARAM"),
                ("m.room.canonical_alias", "", json!({ "alias": 1 }), 400, "M_BAD_JSON"),
                ("m.room.member", "@bob:elsewhere", invite, 403, "M_FORBIDDEN"),
                ("m.room.redaction", "", json!({ "redacts": "$x" }), 400, "M_INVALID_PARAM"),
            ] {
                try_create(kind, key, content).await.refused(status, code);
            }
            // Nothing is left of the refused rooms, and the room's own alias is accepted.
            let own = json!({ "alias": "#x:test", "alt_aliases": ["#x:test"] });
            try_create("m.room.canonical_alias", "", own).await.ok();
        }

        async fn a_room_is_private_unless_said_otherwise(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let rule = async |request| {
                let room = alice.create_room(request).await;
                alice.state(&room, "m.room.join_rules", "").await["join_rule"].clone()
            };
            assert_eq!(rule(json!({})).await, "invite");
            assert_eq!(rule(json!({ "visibility": "public" })).await, "public");
            assert_eq!(rule(json!({ "visibility": "private" })).await, "invite");
            let both = json!({ "visibility": "public", "preset": "private_chat" });
            assert_eq!(rule(both).await, "invite");
            let room = alice.post(PATH, json!(null)).await;
            room.refused(400, "M_BAD_JSON");
        }

        async fn everything_that_can_be_given_is_taken(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let name = "/_matrix/client/v3/profile/@bob:test/displayname";
            let bob = server.register("bob").await;
            bob.put(name, json!({ "displayname": "Bob" })).await.ok();
            let room = alice
                .create_room(json!({
                    "creation_content": { "m.federate": false, "test": "azerty", "room_version": "x" },
                    "initial_state": [
                        { "type": "m.room.history_visibility",
                          "content": { "history_visibility": "joined" } },
                        { "type": "m.room.topic", "content": { "topic": "not this" } },
                        { "type": "a.b", "state_key": "c", "content": { "d": 1 } },
                    ],
                    "invite": ["@bob:test", "@bob:test"],
                    "is_direct": true,
                    "name": "name",
                    "topic": "topic",
                    "power_level_content_override": { "users_default": 5 },
                    "room_alias_name": "alias",
                    "room_version": "10",
                    "unknown": "ignored",
                }))
                .await;
            let state = async |kind: &str, key: &str| alice.state(&room, kind, key).await;
            let create = json!({
                "creator": "@alice:test", "m.federate": false, "room_version": "10", "test": "azerty",
            });
            assert_eq!(state("m.room.create", "").await, create);
            assert_eq!(state("m.room.name", "").await, json!({ "name": "name" }));
            let topic = state("m.room.topic", "").await;
            assert_eq!(topic["topic"], "topic");
            let rich = json!([{ "body": "topic", "mimetype": "text/plain" }]);
            assert_eq!(topic["m.topic"]["m.text"], rich);
            assert_eq!(state("a.b", "c").await, json!({ "d": 1 }));
            let history = state("m.room.history_visibility", "").await;
            assert_eq!(history["history_visibility"], "joined");
            assert_eq!(state("m.room.power_levels", "").await["users_default"], 5);
            let alias = state("m.room.canonical_alias", "").await;
            assert_eq!(alias, json!({ "alias": "#alias:test" }));
            let bob = state("m.room.member", "@bob:test").await;
            let expected =
                json!({ "membership": "invite", "displayname": "Bob", "is_direct": true });
            assert_eq!(bob, expected);
        }

        async fn the_power_levels_say_everything(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({ "room_version": "11" })).await;
            let levels = alice.state(&room, "m.room.power_levels", "").await;
            let fields =
                ["ban", "kick", "redact", "invite", "state_default", "events_default", "users_default"];
            for field in fields {
                assert!(levels[field].is_i64(), "{field}: {levels}");
            }
            assert_eq!(levels["users"], json!({ "@alice:test": 100 }));
            assert!(levels["events"].as_object().unwrap().values().all(|level| level.is_i64()));
        }

        async fn a_topic_of_the_initial_state_is_not_touched(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let topic = json!([{ "type": "m.room.topic", "content": { "topic": "plain" } }]);
            let room = alice.create_room(json!({ "initial_state": topic })).await;
            assert_eq!(alice.state(&room, "m.room.topic", "").await, json!({ "topic": "plain" }));
        }

        async fn what_cannot_be_made_is_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            for (request, code) in [
                (json!({ "room_version": 1 }), "M_BAD_JSON"),
                (json!({ "room_version": "1" }), "M_UNSUPPORTED_ROOM_VERSION"),
                (json!({ "room_version": "unheard-of" }), "M_UNSUPPORTED_ROOM_VERSION"),
                (json!({ "preset": "party" }), "M_INVALID_PARAM"),
                (json!({ "visibility": "hidden" }), "M_INVALID_PARAM"),
                (json!({ "invite": ["bob"] }), "M_BAD_JSON"),
                (json!({ "creation_content": { "x": 1.5 } }), "M_BAD_JSON"),
                (json!({ "initial_state": [{ "type": "a.b" }] }), "M_BAD_JSON"),
                (
                    json!({ "initial_state": [{ "type": "m.room.member", "state_key": "@x:test",
                        "content": { "membership": "join" } }] }),
                    "M_INVALID_ROOM_STATE",
                ),
                (
                    json!({ "power_level_content_override": { "users": { "@alice:test": 100 } } }),
                    "M_INVALID_ROOM_STATE",
                ),
            ] {
                alice.post(PATH, request).await.refused(400, code);
            }
            let many: Vec<_> = (0..501).map(|n| format!("@u{n}:test")).collect();
            alice.post(PATH, json!({ "invite": many })).await.refused(413, "M_TOO_LARGE");
            alice.post(PATH, json!({ "invite": ["@x:other"] })).await.refused(403, "M_FORBIDDEN");
            assert_eq!(alice.get("/_matrix/client/v3/joined_rooms").await.ok()["joined_rooms"], json!([]));
        }

        async fn an_alias_belongs_to_one_room_and_is_free_again_after_a_failure(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let failing = json!({ "room_alias_name": "a", "room_version": "1" });
            alice.post(PATH, failing).await.refused(400, "M_UNSUPPORTED_ROOM_VERSION");
            let room = alice.create_room(json!({ "room_alias_name": "a" })).await;
            let taken = alice.post(PATH, json!({ "room_alias_name": "a" })).await;
            taken.refused(400, "M_ROOM_IN_USE");
            let alias = ruma::room_alias_id!("#a:test");
            let found = server.state().directory.resolve(alias).await.unwrap().unwrap();
            assert_eq!(found.room.id, room);
            let invalid = alice.post(PATH, json!({ "room_alias_name": "a:b" })).await;
            invalid.refused(400, "M_INVALID_PARAM");
        }

        async fn a_public_room_is_on_the_list(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let listed = alice.create_room(json!({ "visibility": "public" })).await;
            alice.create_room(json!({ "preset": "public_chat" })).await;
            let list = server.state().directory.list(&Default::default()).await.unwrap();
            let list: Vec<_> = list.rooms.iter().map(|room| room.room_id.to_string()).collect();
            assert_eq!(list, [listed]);
        }

        async fn a_fresh_room_has_six_events_and_takes_any_other(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let room = alice.create_room(json!({ "preset": "public_chat" })).await;
            let page = alice.get(&in_room(&room, "messages?dir=f")).await.ok();
            let kinds: Vec<_> = page["chunk"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
            assert_eq!(
                kinds,
                [
                    "m.room.create",
                    "m.room.member",
                    "m.room.power_levels",
                    "m.room.join_rules",
                    "m.room.history_visibility",
                    "m.room.guest_access",
                ]
            );
            alice.send_event(&room, "m.room.test", json!({})).await;
        }
    }
}
