//! Whatever is linked in has a licence that goes with Apache-2.0.

use crate::workspace::{Package, Workspace};

/// SPDX identifiers, with the exceptions that may follow them.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Covers data only: the certificates of `webpki-roots`.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    // Asks only for changes to its own files to be published.
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.packages.iter().filter_map(check_package).collect()
}

fn check_package(package: &Package) -> Option<String> {
    let Package { name, version, license, .. } = package;
    let Some(license) = license else {
        return Some(format!("{name} {version}: names no licence"));
    };
    let finding = format!("{name} {version}: `{license}` is not among the licences allowed");
    (!is_allowed(license)).then_some(finding)
}

/// Whether an SPDX expression can be met by allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    // Older packages write a slash for OR.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words };
    let allowed = parser.any();
    allowed && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> bool {
        let mut allowed = self.all();
        while self.take("OR") {
            allowed |= self.all();
        }
        allowed
    }

    fn all(&mut self) -> bool {
        let mut allowed = self.one();
        while self.take("AND") {
            allowed &= self.one();
        }
        allowed
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let allowed = self.any();
            return self.take(")") && allowed;
        }
        let Some(licence) = self.next() else { return false };
        if !self.take("WITH") {
            return ALLOWED.contains(&licence);
        }
        let exception = self.next().unwrap_or_default();
        ALLOWED.contains(&format!("{licence} WITH {exception}").as_str())
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::package;

    #[test]
    fn one_of_several_is_enough() {
        assert!(is_allowed("MIT"));
        assert!(is_allowed("MIT OR Apache-2.0 OR LGPL-2.1-or-later"));
        assert!(is_allowed("GPL-3.0 OR MIT"));
        assert!(is_allowed("Apache-2.0/MIT"));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    }

    #[test]
    fn all_that_are_joined_are_needed() {
        assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(!is_allowed("MIT AND GPL-3.0"));
        assert!(!is_allowed("(MIT OR Apache-2.0) AND GPL-3.0"));
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused() {
        for expression in ["AGPL-3.0-only", "", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH x"] {
            assert!(!is_allowed(expression), "{expression}");
        }
    }

    #[test]
    fn a_finding_names_package_and_licence() {
        let mut package = package("x", vec![]);
        assert_eq!(check_package(&package), None);
        package.license = Some("AGPL-3.0-only".into());
        let finding = check_package(&package).unwrap();
        assert_eq!(finding, "x 0.1.0: `AGPL-3.0-only` is not among the licences allowed");
        package.license = None;
        assert_eq!(check_package(&package).unwrap(), "x 0.1.0: names no licence");
    }
}
