//! `DELETE /_matrix/client/v3/directory/room/{roomAlias}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias>

use std::sync::Arc;

use axum::extract::State;
use ruma::api::client::alias::delete_alias::v3::{Request, Response};
use stoa_directory::Directory;
use stoa_http::{Answer, Result, Ruma, detached};
use stoa_rooms::Rooms;

use crate::ops;

/// Deletes an alias that the user created, or for which they have the power level.
pub(crate) async fn delete_alias(
    State(rooms): State<Arc<Rooms>>,
    State(directory): State<Arc<Directory>>,
    request: Ruma<Request>,
) -> Result<Answer<Response>> {
    let work = async move {
        let (actor, alias) = (request.actor(), &request.body.room_alias);
        ops::delete_alias::delete_alias(&rooms, &directory, &actor, &request.session, alias).await
    };
    // In a task of its own, so that a client that hangs up does not stop it half-way.
    detached(work).await??;
    Ok(Answer(Response::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stoa_testing::{TestClient, TestServer, both_databases};

    /// A public room of the creator that the others are in.
    async fn room(creator: &TestClient, others: &[&TestClient]) -> String {
        let body = json!({
            "preset": "public_chat",
            "power_level_content_override": { "events": { "m.room.aliases": 50 } },
        });
        let created = creator.post("/_matrix/client/v3/createRoom", body).await.ok();
        let room = created["room_id"].as_str().unwrap().to_owned();
        for other in others {
            other.post(&format!("/_matrix/client/v3/join/{room}"), json!({})).await.ok();
        }
        room
    }

    fn path(name: &str) -> String {
        format!("/_matrix/client/v3/directory/room/%23{name}:test")
    }

    fn main_alias(room: &str) -> String {
        format!("/_matrix/client/v3/rooms/{room}/state/m.room.canonical_alias/")
    }

    async fn add(creator: &TestClient, room: &str, name: &str) {
        creator.put(&path(name), json!({ "room_id": room })).await.ok();
    }

    both_databases! {
        async fn a_creator_deletes_without_power(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = room(&alice, &[&bob]).await;
            add(&bob, &room, "a").await;
            let content: Value = json!({ "alias": "#a:test" });
            alice.put(&main_alias(&room), content.clone()).await.ok();
            assert_eq!(bob.delete(&path("a")).await.ok(), json!({}));
            bob.get(&path("a")).await.refused(404, "M_NOT_FOUND");
            // If the user may not change the canonical alias, it stays as it is.
            assert_eq!(bob.get(&main_alias(&room)).await.ok(), content);
            bob.delete(&path("a")).await.refused(404, "M_NOT_FOUND");
        }

        async fn an_admin_of_the_room_deletes_an_alias_and_the_room_loses_it(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let (alice, bob) = (server.register("alice").await, server.register("bob").await);
            let room = room(&alice, &[&bob]).await;
            for name in ["a", "b", "c"] {
                add(&bob, &room, name).await;
            }
            let content = json!({ "alias": "#a:test", "alt_aliases": ["#a:test", "#b:test"] });
            alice.put(&main_alias(&room), content).await.ok();
            let shown = async || alice.get(&main_alias(&room)).await.ok();

            alice.delete(&path("c")).await.ok();
            assert_eq!(shown().await["alias"], "#a:test");
            alice.delete(&path("a")).await.ok();
            assert_eq!(shown().await, json!({ "alt_aliases": ["#b:test"] }));
            alice.delete(&path("b")).await.ok();
            assert_eq!(shown().await, json!({}));
        }

        async fn others_do_not_delete(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let (bob, carol) = (server.register("bob").await, server.register("carol").await);
            let room = room(&alice, &[&bob]).await;
            add(&alice, &room, "a").await;
            for other in [&bob, &carol] {
                other.delete(&path("a")).await.refused(403, "M_FORBIDDEN");
            }
            alice.get(&path("a")).await.ok();
        }
    }
}
