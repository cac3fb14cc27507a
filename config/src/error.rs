use std::{fmt, io, path::PathBuf};

use thiserror::Error;
use toml::Value;

/// All errors in a configuration, ordered by line and then by variable.
///
/// Displayed as a heading and a line for each error.
#[derive(Debug)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// An error and its place.
///
/// Displayed as a line for the admin with the place, the setting and what is allowed. It never
/// contains a secret.
#[derive(Debug, Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    pub(crate) origin: Origin,
    #[source]
    pub(crate) problem: Problem,
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    File(PathBuf),
    Line { file: PathBuf, line: usize, path: Option<String> },
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Line { file, line, path: None } => write!(f, "{}:{line}", file.display()),
            Self::Line { file, line, path: Some(path) } => {
                write!(f, "{}:{line}: `{path}`", file.display())
            }
            Self::Variable(name) => name.fmt(f),
        }
    }
}

#[derive(Debug, Error)]
pub(crate) enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("not UTF-8 text")]
    NotText,
    #[error("not valid TOML: {0}")]
    Syntax(String),
    #[error("there is no such setting; {0}")]
    Unknown(String),
    #[error("expected a section with settings of its own, found a single value")]
    NotSection,
    #[error("expected {expected}{}", and_found(found.as_ref()))]
    Value {
        expected: String,
        /// What was found, unless it is a secret.
        found: Option<Value>,
    },
    #[error("{} cannot be read: {error}", file.display())]
    SecretFile { file: PathBuf, error: io::Error },
    #[error("`{0}` is set too; keep one of them")]
    SecretTwice(String),
    #[error("{0}")]
    Conflict(&'static str),
}

fn and_found(value: Option<&Value>) -> String {
    value.map(|value| format!(", found {value}")).unwrap_or_default()
}
