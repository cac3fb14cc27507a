//! What every function of the repositories returns, on both databases: for nothing, one row and
//! several; at its limits; next to rows that belong to others; with unusual texts and the largest
//! numbers; and if it is called twice.
//!
//! There is one file for each repository. [`functions`] fails for a function without a test, and
//! [`statements`] for a statement that a database does not understand.

mod account_data;
mod aliases;
mod attempts;
mod deployment;
mod device_changes;
mod devices;
mod erasure;
mod events;
mod filters;
mod functions;
mod interactive_auth;
mod jobs;
mod leases;
mod log;
mod memberships;
mod nodes;
mod profiles;
mod published;
mod receipts;
mod registration_nonces;
mod rooms;
#[path = "../../../../xtask/src/rust_source.rs"]
mod rust_source;
mod state;
mod statements;
mod tokens;
mod typing;
mod users;

use ruma::{UserId, user_id};
use stoa_storage::{
    Result,
    log::{NewDeviceRow, NewUserRow},
};
use stoa_testing::TestNode;

use crate::{with, write};

/// Texts that a careless statement mistakes for something else.
const UNUSUAL: [&str; 10] = [
    "",
    " ",
    "it's \"quoted\" \\ `so`",
    "%_*?[a]",
    "🦀 ü e\u{301} \u{202e}",
    "\u{1}\t\r\n\u{7f}",
    "null",
    "0",
    "$1 ?1 :a @b --",
    r#"{"a":["\u0000"]}"#,
];

/// A text too large for a database page.
fn long_text() -> String {
    "ä🦀x'".repeat(50_000)
}

fn alice() -> &'static UserId {
    user_id!("@alice:test")
}

fn bob() -> &'static UserId {
    user_id!("@bob:test")
}

/// Creates an account.
async fn make_user(node: &TestNode, user_id: &UserId, password_hash: Option<&str>, admin: bool) {
    let row = NewUserRow {
        user_id: user_id.to_string(),
        password_hash: password_hash.map(str::to_owned),
        admin: i64::from(admin),
        created_ms: 1,
    };
    write(node, with(|append| append.users.push(row))).await;
}

/// Creates a device, unless its user has one with this ID.
async fn make_device(node: &TestNode, user_id: &UserId, device_id: &str, name: Option<&str>) {
    let row = NewDeviceRow {
        user_id: user_id.to_string(),
        device_id: device_id.to_owned(),
        display_name: name.map(str::to_owned),
        created_ms: 1,
    };
    write(node, with(|append| append.devices.push(row))).await;
}

/// Asserts that a text with a null character is refused, since PostgreSQL cannot store it.
fn refused<T>(result: Result<T>) {
    let error = result.err().expect("a null is refused");
    assert!(error.to_string().contains("null"), "{error}");
}
