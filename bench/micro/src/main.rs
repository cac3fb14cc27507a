//! Times the parts of the engine that every request passes: `cargo run --release -p
//! stoa-bench-micro`. For what a person notices of them see `bench/run`.
//!
//! A database is on the disk and flushes, as a server's does. PostgreSQL is measured where
//! `STOA_TEST_POSTGRES` says where one is.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on must end")]

mod append;
mod event;
mod resolution;
mod sync;

use tokio::runtime::Runtime;

fn main() {
    // Else it only lists them, unless it is run as a target of `cargo bench`.
    divan::Divan::from_args().run_benches();
}

/// A runtime as the server's.
fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}
