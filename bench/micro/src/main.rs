//! Times the parts of the engine that every request passes: `cargo run --release -p
//! stoa-bench-micro`. `bench/run` measures what users notice.
//!
//! Databases are on disk and flush, as in production. PostgreSQL is measured if
//! `STOA_TEST_POSTGRES` gives its URL.
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on must end")]

mod append;
mod event;
mod resolution;
mod sync;

use tokio::runtime::Runtime;

fn main() {
    // Without `run_benches`, divan only lists them, unless it is run by `cargo bench`.
    divan::Divan::from_args().run_benches();
}

/// A runtime as the server's.
fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}
