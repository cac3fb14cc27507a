//! Every declared dependency is used: its name appears in the package's code.

use crate::{
    rust_source::RustSource,
    workspace::{Package, Workspace},
};

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.members().flat_map(|package| check_package(workspace, package)).collect()
}

fn check_package(workspace: &Workspace, package: &Package) -> Vec<String> {
    let sources: Vec<RustSource> =
        workspace.sources(package).into_iter().map(|file| RustSource::parse(&file.text)).collect();
    // A package whose code has no path at all is only a skeleton.
    if sources.iter().all(|source| !source.code.contains("::")) {
        return Vec::new();
    }
    package
        .dependencies
        .iter()
        .filter(|dependency| {
            let name = dependency.crate_name();
            !sources.iter().any(|source| source.mentions(&name))
        })
        .map(|dependency| {
            format!("{} → {}: declared and never used", package.name, dependency.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{
        Dependency,
        fixture::{dependency, file, workspace},
    };

    fn findings(dependencies: Vec<Dependency>, path: &str, code: &str) -> Vec<String> {
        let package = crate::workspace::fixture::package("p", dependencies);
        check(&workspace(vec![package], vec![file(&format!("crates/p/{path}"), code)]))
    }

    #[test]
    fn a_dependency_that_the_code_names_is_used() {
        let used = vec![dependency("tower-http"), dependency("serde")];
        let code = "use serde::Serialize; fn f() -> tower_http::X {}";
        assert_eq!(findings(used, "src/lib.rs", code), Vec::<String>::new());
    }

    #[test]
    fn a_test_counts_as_code() {
        let used = vec![dependency("insta")];
        let code = "fn f() { insta::assert_snapshot!(1) }";
        assert_eq!(findings(used, "tests/api.rs", code), Vec::<String>::new());
    }

    #[test]
    fn a_mention_in_a_comment_or_a_string_is_no_use() {
        let code = "use std::fmt; // serde\nconst S: &str = \"serde\";";
        assert_eq!(
            findings(vec![dependency("serde")], "src/lib.rs", code),
            ["p → serde: declared and never used"]
        );
    }

    #[test]
    fn a_renamed_dependency_goes_by_its_new_name() {
        let renamed = Dependency { rename: Some("old-http".into()), ..dependency("http") };
        assert_eq!(findings(vec![renamed.clone()], "src/lib.rs", "use http::X;").len(), 1);
        assert_eq!(findings(vec![renamed], "src/lib.rs", "use old_http::X;").len(), 0);
    }

    #[test]
    fn a_package_that_is_only_laid_out_is_left_alone() {
        let found = findings(vec![dependency("serde")], "src/lib.rs", "//! Will use `serde::X`.");
        assert_eq!(found, Vec::<String>::new());
    }
}
