//! The repositories: one module for each family of tables, with its rows, its SQL, and the
//! functions that run it. Data that clients may have to be told about is not written here but
//! appended to the log.

pub mod account_data;
pub mod aliases;
pub mod attempts;
pub mod deployment;
pub mod device_changes;
pub mod devices;
pub mod erasure;
pub mod events;
pub mod filters;
pub mod interactive_auth;
pub mod jobs;
pub mod leases;
pub mod memberships;
pub mod nodes;
pub mod profiles;
pub mod published;
pub mod receipts;
pub mod registration_nonces;
pub mod rooms;
pub mod state;
pub mod tokens;
pub mod typing;
pub mod users;
