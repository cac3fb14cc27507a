//! Stoa, a Matrix homeserver.
//!
//! This crate is what people call over HTTP, and the assembly: [`app`] puts the engine's parts
//! together, [`router`] says what is served, and each folder under [`client`] is a chapter of the
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
