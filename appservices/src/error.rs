//! Errors in registration files, with messages for the admin.

use std::{fmt, io, path::PathBuf};

use crate::{NamespaceKind, printable};

/// All errors in the registration files, in the order in which the files are configured.
///
/// Displayed as a heading and a line for each error.
#[derive(Debug)]
pub struct RegistrationErrors(pub(crate) Vec<RegistrationError>);

impl RegistrationErrors {
    /// The errors, at least one.
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

/// An error in a registration file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct RegistrationError {
    /// The path of the file, as configured.
    pub file: PathBuf,
    /// The fault.
    #[source]
    pub fault: Fault,
}

/// The kinds of errors in a registration file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file does not exist or cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The file is too large to be a registration.
    #[error("is larger than {0} bytes, the limit for a registration file")]
    TooLarge(u64),
    /// The same file is listed earlier.
    #[error("is listed twice in `appservices.registrations`, first as {}", first.display())]
    ListedTwice {
        /// The path under which it is listed first.
        first: PathBuf,
    },
    /// The file is not YAML, or not a registration.
    #[error("line {line}, column {column}: {problem}")]
    Malformed {
        /// The line, counted from 1.
        line: u64,
        /// The column, counted from 1.
        column: u64,
        /// The problem at that place.
        problem: String,
    },
    /// A required field is empty.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// The address is not a valid HTTP address.
    #[error("`url` must be an address such as \"http://localhost:9999\", or null")]
    InvalidUrl,
    /// The two tokens are equal, so knowing one would mean knowing both.
    #[error("`as_token` and `hs_token` are the same")]
    SameTokens,
    /// The name of the service's own user is not valid.
    #[error(
        "`sender_localpart`: \"{}\" cannot be the name of a user; a name has lowercase letters, \
         digits and any of `._=/+-`",
        printable(.0)
    )]
    InvalidSender(String),
    /// A regular expression does not compile, or is too large.
    #[error("`namespaces.{kind}[{index}].regex`: {problem}")]
    InvalidRegex {
        /// The kind of namespace.
        kind: NamespaceKind,
        /// The index of the namespace, counted from 0.
        index: usize,
        /// The fault.
        problem: String,
    },
    /// Another file has the same ID.
    #[error("`id`: \"{}\" is already the ID of {}", printable(id), other.display())]
    SharedId {
        /// The ID.
        id: String,
        /// The other file.
        other: PathBuf,
    },
    /// Another file has the same sender.
    #[error("`sender_localpart`: \"{}\" is already the sender of {}", printable(localpart), other.display())]
    SharedSender {
        /// The localpart of the sender.
        localpart: String,
        /// The other file.
        other: PathBuf,
    },
    /// The sender is in an exclusive namespace of another file.
    #[error(
        "`sender_localpart`: an exclusive namespace of {}, `namespaces.users[{index}]`, includes this user",
        other.display()
    )]
    SenderOfAnother {
        /// The index of the other file's user namespace, counted from 0.
        index: usize,
        /// The other file.
        other: PathBuf,
    },
    /// The sender of another file is in an exclusive namespace.
    #[error(
        "`namespaces.users[{index}]`: it is exclusive and includes the sender of {}",
        other.display()
    )]
    TakesSender {
        /// The index of the user namespace, counted from 0.
        index: usize,
        /// The other file.
        other: PathBuf,
    },
    /// Another file has the same token.
    #[error("`{field}` is already a token of {}", other.display())]
    SharedToken {
        /// The field with the token.
        field: &'static str,
        /// The other file.
        other: PathBuf,
    },
    /// Another file also has this namespace, and both are exclusive.
    #[error(
        "`namespaces.{kind}[{index}]`: \"{}\" is already a namespace of {}, and both are exclusive",
        printable(regex),
        other.display()
    )]
    SharedNamespace {
        /// The kind of namespace.
        kind: NamespaceKind,
        /// The index of the namespace, counted from 0.
        index: usize,
        /// Its regular expression.
        regex: String,
        /// The other file.
        other: PathBuf,
    },
}
