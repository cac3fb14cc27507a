//! Application services: bridges and bots that act as many users.
//!
//! Each one is described by a registration file: its ID, its address, the two tokens with which it
//! and this server authenticate to each other, its own user, and the namespaces of users, aliases
//! and rooms that it is interested in. [`Registrations::load`] reads these files, checks each by
//! itself and against the others, and reports all faults at once with their files. No message or
//! `Debug` output contains a token, or a password from an address.
//!
//! <https://spec.matrix.org/v1.19/application-service-api/#registration>

mod error;
mod namespace;
mod namespaces;
mod printable;
mod registration;
mod registrations;

pub use self::{
    error::{Fault, RegistrationError, RegistrationErrors},
    namespace::{Namespace, NamespaceKind},
    namespaces::Namespaces,
    printable::printable,
    registration::Registration,
    registrations::{Registrations, Warning},
};
