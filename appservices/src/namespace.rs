//! A namespace: a regular expression for the users, aliases or rooms that a service is interested
//! in.

use std::fmt;

use regex::{Regex, RegexBuilder};
use ruma::{ServerName, api::appservice};

use crate::printable;

/// The memory limit for a compiled expression, in bytes.
const MAX_COMPILED: usize = 4 << 20;

/// Names that have nothing in common. An expression that matches all of them probably matches every
/// name.
const PROBES: [&str; 4] = ["a", "0", "zq.7_x", "-"];

/// The kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceKind {
    /// User IDs.
    Users,
    /// Room aliases.
    Aliases,
    /// Room IDs.
    Rooms,
}

impl NamespaceKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Users, Self::Aliases, Self::Rooms];

    const fn sigil(self) -> char {
        match self {
            Self::Users => '@',
            Self::Aliases => '#',
            Self::Rooms => '!',
        }
    }

    /// The namespaces of this kind in a file.
    pub(crate) fn of(self, namespaces: &appservice::Namespaces) -> &[appservice::Namespace] {
        match self {
            Self::Users => &namespaces.users,
            Self::Aliases => &namespaces.aliases,
            Self::Rooms => &namespaces.rooms,
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "users",
            Self::Aliases => "aliases",
            Self::Rooms => "rooms",
        })
    }
}

/// A namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    regex: Regex,
    /// Whether only this service may create what is in the namespace.
    pub exclusive: bool,
}

impl Namespace {
    pub(crate) fn compile(namespace: &appservice::Namespace) -> Result<Self, String> {
        let regex = RegexBuilder::new(&namespace.regex).size_limit(MAX_COMPILED).build();
        let regex = regex.map_err(|error| match error {
            // The message quotes the expression on several lines and ends with the problem.
            regex::Error::Syntax(text) => {
                let problem = text.rsplit_once("error: ").map_or(&*text, |(_, problem)| problem);
                format!(
                    "\"{}\" is not a valid regular expression: {problem}",
                    printable(&namespace.regex)
                )
            }
            _ => format!("\"{}\" takes too much memory", printable(&namespace.regex)),
        })?;
        Ok(Self { regex, exclusive: namespace.exclusive })
    }

    /// The regular expression.
    pub fn regex(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether an ID or alias is in the namespace.
    ///
    /// The specification does not say how the expression is anchored. As in Synapse, it has to
    /// match at the first character but need not reach the last: `@irc_` is the same as `@irc_.*`,
    /// and `irc_` matches no user.
    pub fn includes(&self, id: &str) -> bool {
        // `find` returns the leftmost match.
        self.regex.find(id).is_some_and(|found| found.start() == 0)
    }

    /// Whether the namespace probably includes everything on this server.
    pub(crate) fn includes_everything(
        &self,
        kind: NamespaceKind,
        server_name: &ServerName,
    ) -> bool {
        let sigil = kind.sigil();
        PROBES.iter().all(|probe| self.includes(&format!("{sigil}{probe}:{server_name}")))
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn namespace(regex: &str) -> Result<Namespace, String> {
        Namespace::compile(&appservice::Namespace::new(false, regex.to_owned()))
    }

    #[test]
    fn an_expression_is_anchored_only_at_the_start() {
        let includes = |regex: &str, id: &str| namespace(regex).expect("it compiles").includes(id);
        assert!(includes("@irc_", "@irc_alice:example.com"));
        assert!(includes("@irc_.*", "@irc_alice:example.com"));
        assert!(includes(r"@irc_.*:example\.com", "@irc_alice:example.com"));
        assert!(!includes("irc_", "@irc_alice:example.com"));
        assert!(!includes("@irc_.*:example.org", "@irc_alice:example.com"));
        assert!(!includes("@irc_[a-z]*$", "@irc_alice:example.com"));
        // Each alternative has to match at the first character.
        assert!(includes("@irc_|@xmpp_", "@xmpp_alice:example.com"));
        assert!(!includes("@irc_|xmpp_", "@xmpp_alice:example.com"));
    }

    #[test]
    fn an_expression_that_includes_everything_is_recognized() {
        let everything = |regex: &str| {
            let namespace = namespace(regex).expect("it compiles");
            namespace.includes_everything(NamespaceKind::Users, server_name!("example.com"))
        };
        for regex in ["", "@", "@.*", ".*", r"@.+:example\.com", "@[^:]*:.*"] {
            assert!(everything(regex), "{regex}");
        }
        for regex in ["@irc_.*", r"@.*:example\.org", "@[a-z]+:.*", "#.*"] {
            assert!(!everything(regex), "{regex}");
        }
    }

    #[test]
    fn a_faulty_expression_is_reported_on_one_line() {
        let said = |regex: &str| namespace(regex).expect_err("it does not compile");
        assert_eq!(said("@(irc_"), "\"@(irc_\" is not a valid regular expression: unclosed group");
        assert_eq!(
            said("@(?!admin)"),
            "\"@(?!admin)\" is not a valid regular expression: look-around, including \
             look-ahead and look-behind, is not supported"
        );
        assert_eq!(said("(a{1000}){1000}"), "\"(a{1000}){1000}\" takes too much memory");
    }
}
