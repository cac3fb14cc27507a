use std::io::Write;

use super::CliError;

pub(super) fn run(out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "stoa {}", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
