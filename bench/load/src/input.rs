//! The program's input.

use crate::connection::Failure;

/// The next line of the input. It blocks, because nothing else has to be done meanwhile.
pub(crate) fn next_line() -> Result<Option<String>, Failure> {
    let line = std::io::stdin().lines().next().transpose()?;
    Ok(line.map(|line| line.trim().to_owned()))
}
