//! Application services: bridges and bots that act as many users.
//!
//! A registration file describes each of them: its ID, its address, the two tokens by which it and
//! this server know each other, its own user, and the namespaces of the users, aliases and rooms
//! that it is about. [`Registrations::load`] reads these files and checks them, each by itself and
//! against the others, and reports every fault at once with its file. No message and no `Debug`
//! output holds a token, or a password that stands in an address.
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
