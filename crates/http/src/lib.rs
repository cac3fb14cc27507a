//! What the endpoints of every API share: parsing requests, writing answers, authentication,
//! limits, and observing requests.
//!
//! The crate has no router of its own. Each API registers its handlers with [`Routes`], on any
//! state that provides a [`Context`] through axum's `FromRef`, and brings the table of what they
//! cost.

pub mod admission;
pub mod anonymous;
pub mod body;
pub mod client_address;
mod context;
pub mod cors;
mod detached;
pub mod error;
pub mod extract;
pub mod free_form;
pub mod limits;
pub mod observe;
pub mod operation;
pub mod panics;
pub mod respond;
pub mod routes;
pub mod server;
mod trusted_proxies;

pub use self::{
    admission::Admission,
    anonymous::{MayReadProfiles, MayReadRoomList},
    client_address::ClientAddress,
    context::Context,
    detached::detached,
    error::{Error, Result},
    extract::{Ruma, RumaSend, RumaStatic},
    free_form::FreeForm,
    limits::{Budget, Limits},
    operation::{Audited, Class, Operation},
    respond::Answer,
    routes::Routes,
    trusted_proxies::TrustedProxies,
};
