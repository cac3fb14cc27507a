//! Stoa, a Matrix homeserver.
//!
//! This crate holds the HTTP handlers and connects the parts of the engine: [`app`] builds the
//! parts, [`router`] lists the routes, and each folder under [`client`] is a chapter of the
//! specification with a file for each of its operations.

pub mod app;
pub mod audit;
pub mod client;
pub mod control;
pub mod health;
mod jobs;
pub mod logging;
pub mod metrics;
pub mod ops;
pub mod router;
