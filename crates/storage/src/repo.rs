//! Repositories: one module for each family of tables.

pub mod aliases;
pub mod deployment;
pub mod events;
pub mod memberships;
pub mod published;
pub mod rooms;
pub mod state;
pub mod typing;
