//! Receipts: how far users have read.

pub(crate) mod create_receipt;
