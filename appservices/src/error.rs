//! What is wrong with registration files, in words for the admin.

use std::{fmt, io, path::PathBuf};

use crate::{NamespaceKind, printable};

/// Everything that is wrong with the registration files, in the order in which they are configured.
///
/// Shown, it is a heading and a line for each error.
#[derive(Debug)]
pub struct RegistrationErrors(pub(crate) Vec<RegistrationError>);

impl RegistrationErrors {
    /// The errors one by one. There is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &RegistrationError> {
        self.0.iter()
    }
}

impl fmt::Display for RegistrationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the registration files of application services have errors:")?;
        self.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for RegistrationErrors {}

/// One thing that is wrong with a registration file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct RegistrationError {
    /// The file, as it is configured.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// What may be wrong with a registration file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such file, or it may not be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is so large that it cannot be a registration.
    #[error("is larger than {0} bytes, the most that is read of a registration file")]
    TooLarge(u64),
    /// It is the same file as one before it.
    #[error("is listed twice in `appservices.registrations`, first as {}", first.display())]
    ListedTwice {
        /// How it is named there.
        first: PathBuf,
    },
    /// It is not YAML, or not a registration.
    #[error("line {line}, column {column}: {problem}")]
    Malformed {
        /// The line, the first being 1.
        line: u64,
        /// The column, the first being 1.
        column: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A field that needs a value has an empty one.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// The address is none that could be called.
    #[error("`url` must be an address such as \"http://localhost:9999\", or null")]
    InvalidUrl,
    /// Who knows one of the tokens would know both.
    #[error("`as_token` and `hs_token` are the same")]
    SameTokens,
    /// The service's own user cannot have this name.
    #[error(
        "`sender_localpart`: \"{}\" cannot be the name of a user; a name has lowercase letters, \
         digits and any of `._=/+-`",
        printable(.0)
    )]
    InvalidSender(String),
    /// A regular expression does not compile, or is too large.
    #[error("`namespaces.{kind}[{index}].regex`: {problem}")]
    InvalidRegex {
        /// Which namespaces.
        kind: NamespaceKind,
        /// Which of them, the first being 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Another file has the same ID.
    #[error("`id`: \"{}\" is the ID of {} already", printable(id), other.display())]
    SharedId {
        /// The ID.
        id: String,
        /// The file that has it.
        other: PathBuf,
    },
    /// Another file has the same sender.
    #[error("`sender_localpart`: \"{}\" is the sender of {} already", printable(localpart), other.display())]
    SharedSender {
        /// The localpart of the sender.
        localpart: String,
        /// The file that has it.
        other: PathBuf,
    },
    /// The sender is in an exclusive namespace of another file.
    #[error(
        "`sender_localpart`: an exclusive namespace of {}, `namespaces.users[{index}]`, takes in this user",
        other.display()
    )]
    SenderOfAnother {
        /// Which of its namespaces of users, the first being 0.
        index: usize,
        /// The file that has it.
        other: PathBuf,
    },
    /// The sender of another file is in an exclusive namespace.
    #[error(
        "`namespaces.users[{index}]`: it is exclusive and takes in the sender of {}",
        other.display()
    )]
    TakesSender {
        /// Which of the namespaces of users, the first being 0.
        index: usize,
        /// The file that has the sender.
        other: PathBuf,
    },
    /// Another file has the same token.
    #[error("`{field}` is a token of {} already", other.display())]
    SharedToken {
        /// Which of the two tokens.
        field: &'static str,
        /// The file that has it.
        other: PathBuf,
    },
    /// Another file claims the same namespace for itself alone.
    #[error(
        "`namespaces.{kind}[{index}]`: \"{}\" is a namespace of {} already, and both are exclusive",
        printable(regex),
        other.display()
    )]
    SharedNamespace {
        /// Which namespaces.
        kind: NamespaceKind,
        /// Which of them, the first being 0.
        index: usize,
        /// Its regular expression.
        regex: String,
        /// The file that has it.
        other: PathBuf,
    },
}
