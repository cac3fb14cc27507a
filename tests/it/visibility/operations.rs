//! Every operation that returns events, each with a check that it shows what the oracle allows.

mod room_list;
mod state;
mod sync;
mod timeline;

use std::pin::Pin;

use super::scene::{Reader, Scene};

type Checked<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Checks an operation for one reader.
pub(super) type Check = for<'a> fn(&'a Scene, &'a Reader) -> Checked<'a>;

/// The operations that return events of rooms.
pub(super) const SHOW_EVENTS: &[(&str, Check)] = &[
    ("GET /publicRooms", |scene, reader| Box::pin(room_list::get(scene, reader))),
    ("POST /publicRooms", |scene, reader| Box::pin(room_list::post(scene, reader))),
    ("GET /rooms/{}/context/{}", |scene, reader| Box::pin(timeline::context(scene, reader))),
    ("GET /rooms/{}/event/{}", |scene, reader| Box::pin(timeline::event(scene, reader))),
    ("GET /rooms/{}/joined_members", |scene, reader| {
        Box::pin(state::joined_members(scene, reader))
    }),
    ("GET /rooms/{}/members", |scene, reader| Box::pin(state::members(scene, reader))),
    ("GET /rooms/{}/messages", |scene, reader| Box::pin(timeline::messages(scene, reader))),
    ("GET /rooms/{}/state", |scene, reader| Box::pin(state::state(scene, reader))),
    ("GET /rooms/{}/state/{}", |scene, reader| Box::pin(state::keyless_entry(scene, reader))),
    ("GET /rooms/{}/state/{}/{}", |scene, reader| Box::pin(state::entry(scene, reader))),
    ("GET /sync", |scene, reader| Box::pin(sync::sync(scene, reader))),
];

/// The routes whose answers contain no events of rooms.
pub(super) const SHOW_NONE: &[&str] = &[
    "GET /.well-known/matrix/client",
    "GET /.well-known/matrix/server",
    "GET /_matrix/federation/v1/version",
    "GET /_synapse/admin/v1/register",
    "GET /account/whoami",
    "GET /capabilities",
    "GET /devices",
    "GET /devices/{}",
    "GET /directory/list/room/{}",
    "GET /directory/room/{}",
    "GET /health",
    "GET /joined_rooms",
    "GET /login",
    "GET /profile/{}",
    "GET /profile/{}/{}",
    "GET /pushrules",
    "GET /pushrules/global",
    "GET /pushrules/global/{}/{}",
    "GET /pushrules/global/{}/{}/actions",
    "GET /pushrules/global/{}/{}/enabled",
    "GET /ready",
    "GET /register/available",
    "GET /rooms/{}/aliases",
    "GET /user/{}/account_data/{}",
    "GET /user/{}/filter/{}",
    "GET /user/{}/rooms/{}/account_data/{}",
    "GET /versions",
    "POST /_synapse/admin/v1/register",
    "POST /account/deactivate",
    "POST /account/password",
    "POST /createRoom",
    "POST /join/{}",
    "POST /knock/{}",
    "POST /login",
    "POST /logout",
    "POST /logout/all",
    "POST /refresh",
    "POST /register",
    "POST /rooms/{}/ban",
    "POST /rooms/{}/forget",
    "POST /rooms/{}/invite",
    "POST /rooms/{}/join",
    "POST /rooms/{}/kick",
    "POST /rooms/{}/leave",
    "POST /rooms/{}/read_markers",
    "POST /rooms/{}/receipt/{}/{}",
    "POST /rooms/{}/unban",
    "POST /user/{}/filter",
];
