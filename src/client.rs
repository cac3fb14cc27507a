//! The client-server API: a folder for each chapter of the specification, and a file for each
//! operation with its request, its handler, and its tests. Folders, files and handlers have the
//! names that ruma gives them.

pub(crate) mod account;
pub(crate) mod alias;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod device;
pub(crate) mod directory;
pub(crate) mod discovery;
pub(crate) mod filter;
pub(crate) mod knock;
pub(crate) mod membership;
pub(crate) mod message;
pub(crate) mod profile;
pub(crate) mod push;
pub(crate) mod read_marker;
pub(crate) mod receipt;
pub(crate) mod redact;
pub(crate) mod room;
pub(crate) mod session;
pub(crate) mod state;
pub(crate) mod sync;
pub(crate) mod typing;
