//! The table of contents of the HTTP API: every route and its handler.

mod operations;

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};
use http::{Method, StatusCode};
use ruma::api::error::ErrorKind;
use stoa_http::{Error, Routes, cors, observe};

use self::operations::OPERATIONS;
use crate::{
    app::AppState,
    client::{
        account, alias, config, context, device, directory, discovery, filter, knock, membership,
        message, profile, push, read_marker, receipt, redact, room, session, state, sync, typing,
    },
    health,
};

/// All routes, for clients and for other servers.
pub fn routes() -> Routes<AppState> {
    Routes::new(OPERATIONS)
        // Server discovery and negotiation.
        .public(Method::GET, VERSIONS, discovery::get_supported_versions::get_supported_versions)
        .ruma(discovery::discover_homeserver::discover_homeserver)
        .ruma(discovery::get_capabilities::get_capabilities)
        // Sessions.
        .ruma(session::get_login_types::get_login_types)
        .ruma(session::login::login)
        .ruma(session::refresh_token::refresh_token)
        .ruma(session::logout::logout)
        .ruma(session::logout_all::logout_all)
        // Registration.
        .ruma(account::register::register)
        .ruma(account::get_username_availability::get_username_availability)
        .public(Method::GET, SHARED_SECRET, account::register_with_shared_secret::get_nonce)
        .public(Method::POST, SHARED_SECRET, account::register_with_shared_secret::register)
        // Accounts.
        .ruma(account::whoami::whoami)
        .ruma(account::change_password::change_password)
        .ruma(account::deactivate::deactivate)
        .ruma(device::get_devices::get_devices)
        .ruma(device::get_device::get_device)
        // Profiles.
        .ruma(profile::get_profile::get_profile)
        .ruma(profile::get_profile_field::get_profile_field)
        .ruma(profile::set_profile_field::set_profile_field)
        .ruma(profile::delete_profile_field::delete_profile_field)
        // Account data.
        .ruma(config::get_global_account_data::get_global_account_data)
        .ruma(config::set_global_account_data::set_global_account_data)
        .ruma(config::get_room_account_data::get_room_account_data)
        .ruma(config::set_room_account_data::set_room_account_data)
        // Filters.
        .ruma(filter::create_filter::create_filter)
        .ruma(filter::get_filter::get_filter)
        // Push rules.
        .ruma(push::get_pushrules_all::get_pushrules_all)
        .ruma(push::get_pushrules_global_scope::get_pushrules_global_scope)
        .ruma_at("/_matrix/client/v3/pushrules", push::get_pushrules_all::get_pushrules_all)
        .ruma_at(
            "/_matrix/client/v3/pushrules/global",
            push::get_pushrules_global_scope::get_pushrules_global_scope,
        )
        .ruma(push::get_pushrule::get_pushrule)
        .ruma(push::get_pushrule_actions::get_pushrule_actions)
        .ruma(push::get_pushrule_enabled::get_pushrule_enabled)
        // Reading rooms.
        .ruma(membership::joined_rooms::joined_rooms)
        .ruma(state::get_state_events::get_state_events)
        .ruma(state::get_state_event_for_key::get_state_event_for_key)
        .ruma_at(STATE_R0, state::get_state_event_for_key::get_state_event_for_key)
        .ruma_at(STATE_R0_SLASH, state::get_state_event_for_key::get_state_event_for_key)
        .ruma_at(STATE, state::get_state_event_for_key::get_state_event_for_key)
        .ruma_at(STATE_SLASH, state::get_state_event_for_key::get_state_event_for_key)
        .ruma(membership::get_member_events::get_member_events)
        .ruma(membership::joined_members::joined_members)
        .ruma(room::get_room_event::get_room_event)
        .ruma(message::get_message_events::get_message_events)
        .ruma(context::get_context::get_context)
        // Rooms and who is in them.
        .ruma(room::create_room::create_room)
        .ruma(membership::join_room_by_id_or_alias::join_room_by_id_or_alias)
        .ruma(membership::join_room_by_id::join_room_by_id)
        .ruma(membership::invite_user::invite_user)
        .ruma(knock::knock_room::knock_room)
        .ruma(membership::leave_room::leave_room)
        .ruma(membership::forget_room::forget_room)
        .ruma(membership::kick_user::kick_user)
        .ruma(membership::ban_user::ban_user)
        .ruma(membership::unban_user::unban_user)
        // Sending.
        .ruma(message::send_message_event::send_message_event)
        .ruma(redact::redact_event::redact_event)
        .ruma(state::send_state_event::send_state_event)
        .ruma_at(STATE_R0, state::send_state_event::send_state_event)
        .ruma_at(STATE_R0_SLASH, state::send_state_event::send_state_event)
        .ruma_at(STATE, state::send_state_event::send_state_event)
        .ruma_at(STATE_SLASH, state::send_state_event::send_state_event)
        // Aliases and the room list.
        .ruma(alias::create_alias::create_alias)
        .ruma(alias::get_alias::get_alias)
        .ruma(alias::delete_alias::delete_alias)
        .ruma(room::aliases::aliases)
        .ruma(directory::get_room_visibility::get_room_visibility)
        .ruma(directory::set_room_visibility::set_room_visibility)
        .ruma(directory::get_public_rooms::get_public_rooms)
        .ruma(directory::get_public_rooms_filtered::get_public_rooms_filtered)
        // Sync.
        .ruma(sync::sync_events::sync_events)
        // Typing and receipts.
        .ruma(typing::create_typing_event::create_typing_event)
        .ruma(receipt::create_receipt::create_receipt)
        .ruma(read_marker::set_read_marker::set_read_marker)
        // Other servers.
        .merge(stoa_federation::routes())
        // Health checks for load balancers.
        .public(Method::GET, "/health", health::health)
        .public(Method::GET, "/ready", health::ready)
}

/// Answered without checking the access token.
const VERSIONS: &str = "/_matrix/client/versions";

/// A state event with the empty state key.
const STATE: &str = "/_matrix/client/v3/rooms/{roomId}/state/{eventType}";
const STATE_SLASH: &str = "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/";
const STATE_R0: &str = "/_matrix/client/r0/rooms/{roomId}/state/{eventType}";
const STATE_R0_SLASH: &str = "/_matrix/client/r0/rooms/{roomId}/state/{eventType}/";

/// Registration with the shared secret, for test tools and scripts.
const SHARED_SECRET: &str = "/_synapse/admin/v1/register";

/// The routes with all their middleware.
pub fn router(state: AppState) -> Router {
    routes()
        .into_router()
        .fallback(unknown_endpoint)
        .method_not_allowed_fallback(wrong_method)
        .layer(state.panics.layer())
        .layer(from_fn_with_state(Arc::clone(&state.http), observe::observe))
        .layer(cors::layer())
        .with_state(state)
}

/// <https://spec.matrix.org/v1.19/client-server-api/#common-error-codes>
async fn unknown_endpoint() -> Error {
    let message = "There is no such endpoint.";
    Error::new(StatusCode::NOT_FOUND, ErrorKind::Unrecognized, message)
}

async fn wrong_method() -> Error {
    let message = "This endpoint does not support this method.";
    Error::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unrecognized, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, Method, header};
    use ruma::server_name;
    use serde_json::json;
    use stoa_http::observe;
    use stoa_testing::{TestServer, both_databases};

    both_databases! {
        async fn unknown_endpoints_and_methods_are_refused(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let client = server.client();
            for path in ["/", "/_matrix/client/v3/unknown", "/_matrix/client/v3/login/"] {
                let answer = client.get(path).await;
                answer.refused(404, "M_UNRECOGNIZED");
                assert_eq!(answer.headers["access-control-allow-origin"], "*");
                assert_eq!(answer.headers["content-type"], "application/json");
            }
            let wrong = client.put("/_matrix/client/v3/login", json!({})).await;
            wrong.refused(405, "M_UNRECOGNIZED");
            assert_eq!(wrong.headers["access-control-allow-origin"], "*");
            let odd = Method::from_bytes(b"PROPFIND").unwrap();
            let odd = client.request(odd, "/_matrix/client/v3/login").send().await;
            odd.refused(405, "M_UNRECOGNIZED");
        }

        async fn browsers_can_send_preflight_requests(db: TestDatabase) {
            let server = TestServer::start(db).await;
            for path in ["/_matrix/client/v3/account/whoami", "/_matrix/client/v3/unknown"] {
                let answer = server.client().request(Method::OPTIONS, path).send().await;
                assert_eq!(answer.status, 200);
                assert!(answer.body.is_empty());
                let header = |name: &str| answer.headers[name].to_str().unwrap().to_lowercase();
                assert_eq!(header("access-control-allow-origin"), "*");
                for method in ["get", "post", "put", "delete", "options"] {
                    assert!(header("access-control-allow-methods").contains(method), "{method}");
                }
                for name in ["x-requested-with", "content-type", "authorization"] {
                    assert!(header("access-control-allow-headers").contains(name), "{name}");
                }
            }
        }

        async fn an_answer_has_the_id_of_its_request(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let id = HeaderName::from_static(observe::REQUEST_ID);
            let request = || server.client().request(Method::GET, "/_matrix/client/versions");
            let made_up = request().send().await;
            assert_eq!(made_up.headers[&id].len(), 16);
            let given = request().header(id.clone(), "proxy-1.7").send().await;
            assert_eq!(given.headers[&id], "proxy-1.7");
            let odd = request().header(id.clone(), "a b").send().await;
            assert_ne!(odd.headers[&id], "a b");
        }

        async fn bodies_have_a_size_and_a_depth(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/user/@alice:test/account_data/test.key";
            let put = |body: String| alice.request(Method::PUT, path).body(body).send();
            let limit = server.state().http.max_request_bytes;
            let large = format!("{{\"a\":\"{}\"}}", "x".repeat(limit));
            put(large).await.refused(413, "M_TOO_LARGE");
            let nested = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
            put(nested).await.refused(400, "M_BAD_JSON");
            let deep = format!("{{\"a\":{}{}}}", "[".repeat(99), "]".repeat(99));
            put(deep).await.ok();
            for body in ["{", "{} {}", "{\"a\":NaN}", "{\"a\":Infinity}", "nonsense"] {
                put(body.to_owned()).await.refused(400, "M_NOT_JSON");
            }
        }

        async fn a_token_can_be_in_the_query(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            let path = "/_matrix/client/v3/account/whoami?access_token=";
            let path = format!("{path}{}", alice.token().unwrap());
            assert_eq!(server.client().get(&path).await.ok()["user_id"], "@alice:test");
        }

        async fn other_authorization_schemes_are_ignored(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let request = server.client().request(Method::GET, "/_matrix/client/v3/account/whoami");
            let answer = request.header(header::AUTHORIZATION, "Basic YTpi").send().await;
            answer.refused(401, "M_MISSING_TOKEN");
        }

        async fn health_checks_are_answered(db: TestDatabase) {
            let server = TestServer::start(db).await;
            assert_eq!(server.client().get("/health").await.status, 200);
            assert_eq!(server.client().get("/ready").await.status, 200);
            server.state().stopping.cancel();
            assert_eq!(server.client().get("/ready").await.status, 503);
        }

        async fn static_answers_need_no_database(db: TestDatabase) {
            let server = TestServer::start_with(db, |config, _| {
                config.public_base_url = Some(serde_json::from_value(json!("https://example.com")).unwrap());
                config.federation.well_known = Some(server_name!("example.com").to_owned());
            })
            .await;
            let closing = server.state().store.close();
            let _ = tokio::time::timeout(Duration::from_millis(200), closing).await;
            for path in [
                "/.well-known/matrix/client",
                "/.well-known/matrix/server",
                "/_matrix/client/versions",
                "/_matrix/client/v3/login",
                "/_matrix/federation/v1/version",
            ] {
                assert_eq!(server.client().get(path).await.status, 200, "{path}");
            }
        }

        async fn without_its_database_a_server_is_alive_and_not_ready(db: TestDatabase) {
            let server = TestServer::start(db).await;
            let alice = server.register("alice").await;
            // The database is closed at once, although the log's reader still holds a connection.
            let closing = server.state().store.close();
            let _ = tokio::time::timeout(Duration::from_millis(200), closing).await;
            assert_eq!(server.client().get("/health").await.status, 200);
            assert_eq!(server.client().get("/ready").await.status, 503);
            let answer = alice.get("/_matrix/client/v3/devices").await;
            answer.refused(503, "M_UNKNOWN");
        }
    }
}
