//! rooms

pub mod pdu;
pub mod resolution;
