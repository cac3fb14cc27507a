//! Why a command failed.

use std::{io, path::PathBuf};

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody pressed ^C, or asked this program to end.
    #[error("interrupted")]
    Interrupted,

    #[error("cannot run `{program}`: {source}")]
    Start { program: String, source: io::Error },

    #[error("`{command}` failed ({status}):\n{output}")]
    Command { command: String, status: String, output: String },

    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },

    /// Something that has to be installed by hand.
    #[error("{0}")]
    Missing(String),

    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),

    #[error("`cargo metadata` does not answer as expected: {0}")]
    Metadata(#[from] serde_json::Error),

    #[error("PostgreSQL does not start: {0}")]
    Postgres(String),
}

impl Error {
    /// Turns an error about `path` into one that names it.
    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
