use std::io::Write;

use super::CliError;

pub(super) fn run(out: &mut impl Write) -> Result<(), CliError> {
    out.write_all(stoa_config::sample_toml().as_bytes())?;
    Ok(())
}
