//! Tests of the public API of accounts on real databases.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it does not expect")]

mod account_data;
mod devices;
mod filters;
mod fixture;
mod interactive_auth;
mod login;
mod logout;
mod password;
mod profiles;
mod refresh;
mod registration;
mod sessions;
mod shared_secret;
mod users;
