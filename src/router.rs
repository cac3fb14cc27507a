//! The table of contents: what is served, and where it is written.

use axum::{Router, middleware::from_fn_with_state};
use http::{Method, StatusCode};
use ruma::api::error::ErrorKind;

use crate::{
    app::AppState,
    client::{
        account, account_data, discovery, filter, profile, push_rules, registration, rooms, session,
    },
    health,
    http::{Error, Routes, cors, observe},
};

/// Everything that is served to clients.
pub fn routes() -> Routes {
    Routes::default()
        // Server discovery and negotiation.
        .public(Method::GET, "/_matrix/client/versions", discovery::versions::get_versions)
        .ruma(discovery::well_known::get_well_known)
        .ruma(discovery::capabilities::get_capabilities)
        // Sessions.
        .ruma(session::login::get_login_flows)
        .ruma(session::login::log_in)
        .ruma(session::refresh::refresh)
        .ruma(session::logout::log_out)
        .ruma(session::logout::log_out_all)
        // Registration.
        .ruma(registration::register::register)
        .ruma(registration::available::get_username_availability)
        .public(Method::GET, SHARED_SECRET, registration::shared_secret::get_nonce)
        .public(Method::POST, SHARED_SECRET, registration::shared_secret::register)
        // Accounts.
        .ruma(account::whoami::whoami)
        .ruma(account::password::change_password)
        .ruma(account::devices::get_devices)
        .ruma(account::devices::get_device)
        // Profiles.
        .ruma(profile::get_profile::get_profile)
        .ruma(profile::get_profile_field::get_profile_field)
        .ruma(profile::set_profile_field::set_profile_field)
        .ruma(profile::delete_profile_field::delete_profile_field)
        // Account data.
        .ruma(account_data::global::get_account_data)
        .ruma(account_data::global::set_account_data)
        // Filters.
        .ruma(filter::create_filter::create_filter)
        .ruma(filter::get_filter::get_filter)
        // Push rules.
        .ruma(push_rules::get_push_rules::get_push_rules)
        .ruma(push_rules::get_push_rules::get_global_push_rules)
        .ruma_at("/_matrix/client/v3/pushrules", push_rules::get_push_rules::get_push_rules)
        .ruma_at(
            "/_matrix/client/v3/pushrules/global",
            push_rules::get_push_rules::get_global_push_rules,
        )
        .ruma(push_rules::get_push_rule::get_push_rule)
        .ruma(push_rules::get_push_rule::get_push_rule_actions)
        .ruma(push_rules::get_push_rule::get_push_rule_enabled)
        // Reading rooms.
        .ruma(rooms::joined_rooms::get_joined_rooms)
        .ruma(rooms::get_state::get_state)
        .ruma(rooms::get_state_event::get_state_event)
        .ruma(rooms::members::get_members)
        .ruma(rooms::joined_members::get_joined_members)
        .ruma(rooms::get_event::get_event)
        .ruma(rooms::messages::get_messages)
        .ruma(rooms::context::get_context)
        // What load balancers ask.
        .public(Method::GET, "/health", health::health)
        .public(Method::GET, "/ready", health::ready)
}

/// Where test tools and scripts make accounts.
const SHARED_SECRET: &str = "/_synapse/admin/v1/register";

/// The routes with all that is laid around them.
pub fn router(state: AppState) -> Router {
    routes()
        .into_router()
        .fallback(unknown_endpoint)
        .method_not_allowed_fallback(wrong_method)
        .layer(state.panics.layer())
        .layer(from_fn_with_state(state.clone(), observe::observe))
        .layer(cors::layer())
        .with_state(state)
}

/// <https://spec.matrix.org/v1.19/client-server-api/#common-error-codes>
async fn unknown_endpoint() -> Error {
    let message = "There is no such endpoint here.";
    Error::new(StatusCode::NOT_FOUND, ErrorKind::Unrecognized, message)
}

async fn wrong_method() -> Error {
    let message = "This endpoint does not take this method.";
    Error::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unrecognized, message)
}
