//! The running test program.

use std::{env, path::PathBuf};

pub(crate) fn this_program() -> PathBuf {
    env::current_exe().expect("this program")
}
