//! The rooms engine on both databases, called as the endpoints call it.

mod create;
mod membership;
mod redact;
mod send;
mod support;
