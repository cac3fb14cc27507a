//! The only place with SQL: the two databases behind one [`Store`], the log's writer, and one
//! repository module for each family of tables.
//!
//! A statement is one static text that both databases understand: `$1` binds, `BIGINT`
//! milliseconds, JSON as `TEXT`, lists bound as one JSON array and read with `json_each`. If the
//! databases truly differ, two whole texts stand side by side.

mod backend;
mod conn;
mod error;
pub mod log;
mod nids;
mod postgres_host;
pub mod repo;
mod schema;
mod server;
mod statements;
mod store;
mod wal;

pub use self::{
    backend::Backend,
    conn::{Bind, Conn, FromRow, Row},
    error::{Error, Result},
    nids::NidAllocator,
    statements::StatementKind,
    store::{OpenError, Options, Store},
};
