//! Which crate may depend on which: the picture in ARCHITECTURE.md as data.
//!
//! The compiler refuses undeclared dependencies; this check refuses wrong declarations.

use crate::workspace::{Dependency, Kind, Package, Workspace};

const BASE: &[&str] = &["stoa-base"];
const CONFIG: &[&str] = &["stoa-config"];
const STORAGE: &[&str] = &["stoa-storage"];
const NODE: &[&str] = &["stoa-cluster"];
const STATE: &[&str] = &["stoa-rooms", "stoa-accounts"];
const FEATURES: &[&str] = &["stoa-ephemeral", "stoa-push", "stoa-directory"];
const HTTP: &[&str] = &["stoa-http"];
const SERVICES: &[&str] = &["stoa-federation", "stoa-appservices", "stoa-sync"];
const PROGRAM: &[&str] = &["stoa"];
/// Supports the tests of every crate, so it may depend on all of them.
const TESTING: &[&str] = &["stoa-testing"];

/// Measures the parts of the engine.
const MEASURING: &[&str] = &["stoa-bench-micro"];

/// Programs that use Stoa only from outside, or not at all.
const TOOLS: &[&str] = &["stoa-bench-load", "stoa-complement-tests", "xtask"];

/// The crates of a row may depend on those of the rows that it lists, and not on each other.
const PICTURE: &[(&[&str], &[&[&str]])] = &[
    (BASE, &[]),
    (CONFIG, &[]),
    (STORAGE, &[BASE]),
    (NODE, &[BASE, STORAGE]),
    (STATE, &[BASE, CONFIG, STORAGE, NODE]),
    (FEATURES, &[BASE, CONFIG, STORAGE, NODE, STATE]),
    (HTTP, &[BASE, CONFIG, STORAGE, NODE, STATE, FEATURES]),
    (SERVICES, &[BASE, CONFIG, STORAGE, NODE, STATE, FEATURES, HTTP]),
    (PROGRAM, &[BASE, CONFIG, STORAGE, NODE, STATE, FEATURES, HTTP, SERVICES]),
    (TESTING, &[BASE, CONFIG, STORAGE, NODE, STATE, FEATURES, HTTP, SERVICES, PROGRAM]),
    (MEASURING, &[BASE, STATE, SERVICES, TESTING]),
    (TOOLS, &[]),
];

/// Crates from outside that are kept in one place.
struct Reserved {
    crates: &'static [&'static str],
    users: &'static [&'static str],
    reason: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        crates: &["sqlx", "rusqlite", "libsqlite3-sys", "postgres", "tokio-postgres"],
        // The testing crate makes and drops the databases that tests run in.
        users: &["stoa-storage", "stoa-testing"],
        reason: "SQL stands in storage",
    },
    Reserved {
        crates: &["reqwest", "ureq", "isahc", "curl", "attohttpc", "awc", "minreq", "surf"],
        users: &["stoa-testing", "stoa-bench-load"],
        reason: "only the exporter of traces calls out",
    },
    Reserved {
        crates: &["hyper-rustls", "opentelemetry-http"],
        users: &["stoa"],
        reason: "only the exporter of traces calls out",
    },
];

/// Crates that are HTTP clients only if they are asked to be.
const CLIENTS_BY_FEATURE: &[&str] = &["hyper", "hyper-util"];

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.members().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<String> {
    let from = &package.name;
    let mut findings = Vec::new();
    if row_of(from).is_none() {
        findings.push(format!("{from}: not in the picture of crates in xtask/src/gate/layers.rs"));
    }
    for dependency in &package.dependencies {
        let to = &dependency.name;
        if is_ours(to) && !may_know(from, dependency) {
            findings.push(format!("{from} → {to}: not an arrow of the picture of crates"));
        }
        for reserved in RESERVED {
            if reserved.covers(dependency) && !reserved.users.contains(&from.as_str()) {
                findings.push(format!("{from} → {to}: {}", reserved.reason));
            }
        }
    }
    findings
}

fn is_ours(name: &str) -> bool {
    row_of(name).is_some() || name.starts_with("stoa-")
}

fn row_of(name: &str) -> Option<&'static [&'static [&'static str]]> {
    PICTURE.iter().find(|(crates, _)| crates.contains(&name)).map(|(_, known)| *known)
}

fn may_know(from: &str, dependency: &Dependency) -> bool {
    let to = dependency.name.as_str();
    let is_tool = TOOLS.contains(&from);
    if dependency.kind == Some(Kind::Dev) && TESTING.contains(&to) && !is_tool {
        return true;
    }
    row_of(from).is_some_and(|known| known.iter().any(|row| row.contains(&to)))
}

impl Reserved {
    fn covers(&self, dependency: &Dependency) -> bool {
        let name = dependency.name.as_str();
        let is_client = CLIENTS_BY_FEATURE.contains(&name)
            && dependency.features.iter().any(|feature| feature.starts_with("client"));
        self.crates.contains(&name) || (is_client && self.crates.contains(&"reqwest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::{dependency, dev_dependency, package};

    fn findings(from: &str, to: &str) -> Vec<String> {
        check_package(&package(from, vec![dependency(to)]))
    }

    #[test]
    fn arrows_point_down() {
        for (from, to) in [
            ("stoa-storage", "stoa-base"),
            ("stoa-cluster", "stoa-storage"),
            ("stoa-rooms", "stoa-cluster"),
            ("stoa-push", "stoa-rooms"),
            ("stoa-http", "stoa-push"),
            ("stoa-sync", "stoa-push"),
            ("stoa-sync", "stoa-http"),
            ("stoa-federation", "stoa-http"),
            ("stoa", "stoa-sync"),
            ("stoa-testing", "stoa"),
        ] {
            assert_eq!(findings(from, to), Vec::<String>::new(), "{from} → {to}");
        }
    }

    #[test]
    fn an_arrow_up_or_sideways_names_both_crates() {
        for (from, to) in [
            ("stoa-base", "stoa-storage"),
            ("stoa-storage", "stoa-config"),
            ("stoa-cluster", "stoa-rooms"),
            ("stoa-rooms", "stoa-accounts"),
            ("stoa-rooms", "stoa-sync"),
            ("stoa-push", "stoa-directory"),
            ("stoa-push", "stoa-http"),
            ("stoa-http", "stoa-sync"),
            ("stoa-http", "stoa"),
            ("stoa-sync", "stoa-federation"),
            ("stoa-sync", "stoa"),
            ("stoa", "stoa-testing"),
            ("xtask", "stoa-base"),
        ] {
            assert_eq!(
                findings(from, to),
                [format!("{from} → {to}: not an arrow of the picture of crates")]
            );
        }
    }

    #[test]
    fn tests_may_use_the_testing_crate_and_nothing_else_from_above() {
        let of = |to| check_package(&package("stoa-rooms", vec![dev_dependency(to)]));
        assert_eq!(of("stoa-testing"), Vec::<String>::new());
        assert_eq!(of("stoa-sync").len(), 1);
    }

    #[test]
    fn a_crate_outside_the_picture_is_named() {
        for name in ["stoa-extra", "extra"] {
            let found = check_package(&package(name, vec![]));
            assert_eq!(found.len(), 1);
            assert!(found[0].starts_with(&format!("{name}: not in the picture")));
        }
    }

    #[test]
    fn a_tool_knows_nothing_of_the_house() {
        let tool = package("stoa-bench-load", vec![dev_dependency("stoa-testing")]);
        assert_eq!(check_package(&tool).len(), 1);
        assert_eq!(findings("stoa", "stoa-bench-load").len(), 1);
    }

    #[test]
    fn sqlx_belongs_to_storage_even_in_tests() {
        assert_eq!(findings("stoa-storage", "sqlx"), Vec::<String>::new());
        assert_eq!(findings("stoa-rooms", "sqlx"), ["stoa-rooms → sqlx: SQL stands in storage"]);
        let in_tests = package("stoa-sync", vec![dev_dependency("sqlx")]);
        assert_eq!(check_package(&in_tests).len(), 1);
        assert_eq!(findings("stoa-bench-load", "sqlx").len(), 1);
    }

    #[test]
    fn http_clients_belong_to_tools_and_tests() {
        assert_eq!(findings("stoa-bench-load", "reqwest"), Vec::<String>::new());
        assert_eq!(findings("stoa", "reqwest").len(), 1);
    }

    #[test]
    fn hyper_is_a_client_only_with_that_feature() {
        let hyper = |feature: &str| {
            let features = vec![feature.to_owned()];
            package("stoa", vec![Dependency { features, ..dependency("hyper-util") }])
        };
        assert_eq!(check_package(&hyper("server-auto")), Vec::<String>::new());
        assert_eq!(check_package(&hyper("client-legacy")).len(), 1);
    }
}
