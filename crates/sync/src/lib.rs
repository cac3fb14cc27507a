//! Sync.

pub mod filter;
