//! The table of the operations of the client-server API, and of the health checks: the class and
//! the cost of each, and whether its changes are audited.
//!
//! A test compares it, and the table of the server-server API, with the router, so a route without an
//! entry fails. Costs are in the unit of their class: events for messages, rooms and profiles,
//! otherwise the cost of the cheapest operation of the class. Costs that depend on the request are
//! charged by the handler.

use stoa_http::{
    Audited::{No, Yes},
    Class::{
        Anonymous, Attempts, Ephemeral, HeavyReads, Messages, Profiles, Reads, RoomCreation, Syncs,
        Unlimited, Writes,
    },
    Operation,
};

/// All operations, in the order of the router.
#[rustfmt::skip]
pub(super) static OPERATIONS: &[Operation] = &[
    // Server discovery and negotiation.
    Operation::get("/_matrix/client/versions", Reads, 1),
    Operation::get("/.well-known/matrix/client", Reads, 1),
    Operation::get("/_matrix/client/v3/capabilities", Reads, 1),
    // Sessions. A refresh carries no access token, so it is counted by address. So is ending
    // sessions: a thief with a stolen token must not be able to use up the budget that its user
    // needs for that.
    Operation::get("/_matrix/client/v3/login", Reads, 1),
    Operation::post("/_matrix/client/v3/login", Attempts, 1, Yes),
    Operation::post("/_matrix/client/v3/refresh", Anonymous, 5, Yes),
    Operation::post("/_matrix/client/v3/logout", Anonymous, 1, Yes),
    Operation::post("/_matrix/client/v3/logout/all", Anonymous, 1, Yes),
    // Registration.
    Operation::post("/_matrix/client/v3/register", Attempts, 1, Yes),
    Operation::get("/_matrix/client/v3/register/available", Attempts, 1),
    Operation::get("/_synapse/admin/v1/register", Reads, 1),
    Operation::post("/_synapse/admin/v1/register", Anonymous, 5, Yes),
    // Accounts. A password is checked, as for a login.
    Operation::get("/_matrix/client/v3/account/whoami", Reads, 1),
    Operation::post("/_matrix/client/v3/account/password", Attempts, 1, Yes),
    Operation::post("/_matrix/client/v3/account/deactivate", Attempts, 1, Yes),
    Operation::get("/_matrix/client/v3/devices", Reads, 1),
    Operation::get("/_matrix/client/v3/devices/{device_id}", Reads, 1),
    // Profiles. A name or avatar also costs an event for each joined room.
    Operation::get("/_matrix/client/v3/profile/{user_id}", Reads, 1),
    Operation::get("/_matrix/client/v3/profile/{user_id}/{field}", Reads, 1),
    Operation::put("/_matrix/client/v3/profile/{user_id}/{field}", Profiles, 1, No),
    Operation::delete("/_matrix/client/v3/profile/{user_id}/{field}", Profiles, 1, No),
    // Account data. Large content costs more.
    Operation::get("/_matrix/client/v3/user/{user_id}/account_data/{event_type}", Reads, 1),
    Operation::put("/_matrix/client/v3/user/{user_id}/account_data/{event_type}", Writes, 1, No),
    Operation::get("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{event_type}", Reads, 1),
    Operation::put("/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{event_type}", Writes, 1, No),
    // Filters.
    Operation::post("/_matrix/client/v3/user/{user_id}/filter", Writes, 1, No),
    Operation::get("/_matrix/client/v3/user/{user_id}/filter/{filter_id}", Reads, 1),
    // Push rules.
    Operation::get("/_matrix/client/v3/pushrules/", Reads, 1),
    Operation::get("/_matrix/client/v3/pushrules/global/", Reads, 1),
    Operation::get("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}", Reads, 1),
    Operation::get("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/actions", Reads, 1),
    Operation::get("/_matrix/client/v3/pushrules/global/{kind}/{rule_id}/enabled", Reads, 1),
    // Reading rooms.
    Operation::get("/_matrix/client/v3/joined_rooms", Reads, 5),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/state", HeavyReads, 1),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", Reads, 1),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/members", HeavyReads, 1),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/joined_members", HeavyReads, 1),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/event/{event_id}", Reads, 1),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/messages", HeavyReads, 1),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/context/{event_id}", HeavyReads, 1),
    // Rooms and membership. Each invite and each state event of a new room costs one more. The
    // state may include bans.
    Operation::post("/_matrix/client/v3/createRoom", RoomCreation, 8, Yes),
    Operation::post("/_matrix/client/v3/join/{room_id_or_alias}", Messages, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/join", Messages, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/invite", Messages, 1, No),
    Operation::post("/_matrix/client/v3/knock/{room_id_or_alias}", Messages, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/leave", Messages, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/forget", Writes, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/kick", Messages, 1, Yes),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/ban", Messages, 1, Yes),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/unban", Messages, 1, Yes),
    // Sending. A state event can change somebody else's membership.
    Operation::put("/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}", Messages, 1, No),
    Operation::put("/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", Messages, 1, No),
    Operation::put("/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", Messages, 1, Yes),
    // Aliases and the room directory. Deleting an alias can change the room's state.
    Operation::put("/_matrix/client/v3/directory/room/{room_alias}", Writes, 1, No),
    Operation::get("/_matrix/client/v3/directory/room/{room_alias}", Reads, 1),
    Operation::delete("/_matrix/client/v3/directory/room/{room_alias}", Messages, 1, No),
    Operation::get("/_matrix/client/v3/rooms/{room_id}/aliases", Reads, 1),
    Operation::get("/_matrix/client/v3/directory/list/room/{room_id}", Reads, 1),
    Operation::put("/_matrix/client/v3/directory/list/room/{room_id}", Writes, 1, No),
    Operation::get("/_matrix/client/v3/publicRooms", HeavyReads, 1),
    Operation::post("/_matrix/client/v3/publicRooms", HeavyReads, 1, No),
    // Sync. An initial sync, or one with the full state, is also charged as a heavy read.
    Operation::get("/_matrix/client/v3/sync", Syncs, 1),
    // Typing and receipts. Each marker costs one.
    Operation::put("/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", Ephemeral, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}", Ephemeral, 1, No),
    Operation::post("/_matrix/client/v3/rooms/{room_id}/read_markers", Ephemeral, 1, No),
    // Health checks for load balancers.
    Operation::get("/health", Unlimited, 0),
    Operation::get("/ready", Unlimited, 0),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;

    use super::*;
    use crate::router::routes;

    #[test]
    fn every_route_is_in_the_table_of_operations() {
        let routes = routes();
        let missing: Vec<_> = routes.table().iter().filter(|r| r.operation.is_none()).collect();
        assert!(missing.is_empty(), "without an operation: {missing:#?}");
    }

    #[test]
    fn every_operation_is_served_and_listed_once() {
        let routes = routes();
        let name = |operation: &Operation| format!("{} {}", operation.method, operation.path);
        let served: BTreeSet<_> =
            routes.table().iter().filter_map(|r| r.operation).map(name).collect();
        let listed: Vec<_> = routes.operations().iter().copied().map(name).collect();
        assert_eq!(listed.len(), served.len(), "an operation is listed twice");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), served);
    }

    #[test]
    fn every_operation_that_changes_something_says_whether_it_is_audited() {
        for operation in routes().operations() {
            let Operation { method, path, audited, .. } = operation;
            assert_eq!(audited.is_some(), *method != Method::GET, "{method} {path}");
        }
    }

    #[test]
    fn only_health_checks_are_free() {
        let routes = routes();
        let operations = routes.operations();
        let free = operations.iter().filter(|operation| operation.class == Unlimited);
        let free: Vec<_> = free.map(|operation| operation.path).collect();
        assert_eq!(free, ["/health", "/ready"]);
        assert!(operations.iter().all(|o| o.class == Unlimited || o.cost > 0));
    }
}
