//! The room directory: its entry of a published room contains only public information.

use serde_json::{Value, json};

use crate::visibility::scene::{Reader, Scene};

pub(super) async fn get(scene: &Scene, reader: &Reader) {
    let list = reader.client.get("/_matrix/client/v3/publicRooms").await.ok();
    check(scene, &list);
}

pub(super) async fn post(scene: &Scene, reader: &Reader) {
    let list = reader.client.post("/_matrix/client/v3/publicRooms", json!({})).await.ok();
    check(scene, &list);
}

fn check(scene: &Scene, list: &Value) {
    let history = &scene.history;
    let rooms = list["chunk"].as_array().unwrap();
    let room = rooms.iter().find(|room| room["room_id"] == scene.room).unwrap();
    assert_eq!(room["world_readable"], history.is_world_readable());
    let users = scene.readers.iter();
    let joined = users.filter(|user| history.present_membership(user.id()) == "join").count();
    assert_eq!(room["num_joined_members"], joined);
}
