//! Files that are generated from the code are each compared with it by a test; this makes sure
//! that neither the file nor its test gets lost.

use crate::workspace::Workspace;

/// A generated file, and the test that fails when it is out of date.
struct Generated {
    path: &'static str,
    /// The file of the test, and its name.
    test: (&'static str, &'static str),
}

const GENERATED: &[Generated] = &[
    Generated { path: "config/stoa.sample.toml", test: ("config/tests/generated.rs", "sample") },
    Generated { path: "config/stoa.schema.json", test: ("config/tests/generated.rs", "schema") },
    Generated { path: "docs/configuration.md", test: ("config/tests/generated.rs", "reference") },
];

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    GENERATED.iter().flat_map(|generated| check_one(workspace, generated)).collect()
}

fn check_one(workspace: &Workspace, generated: &Generated) -> Vec<String> {
    let Generated { path, test: (test_path, test) } = generated;
    let text_of = |path: &str| {
        workspace.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    };
    let mut findings = Vec::new();
    if text_of(path).is_none() {
        findings.push(format!("{path}: is generated, and is not there"));
    }
    let has_test = text_of(test_path).is_some_and(|text| {
        text.contains(&format!("#[test]\nfn {test}(")) && text.contains(file_name(path))
    });
    if !has_test {
        findings.push(format!("{path}: its test `{test}` is not in {test_path}"));
    }
    findings
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::{file, workspace};

    const PLAN: Generated = Generated { path: "docs/x.md", test: ("src/x.rs", "x_is_new") };

    #[test]
    fn file_and_test_are_both_needed() {
        let findings = |files| check_one(&workspace(vec![], files), &PLAN);
        let document = file("docs/x.md", "");
        let test = file("src/x.rs", "#[test]\nfn x_is_new() { compare(\"../docs/x.md\") }");
        assert_eq!(findings(vec![document.clone(), test.clone()]), Vec::<String>::new());
        assert_eq!(findings(vec![test]), ["docs/x.md: is generated, and is not there"]);
        let missing = "docs/x.md: its test `x_is_new` is not in src/x.rs";
        assert_eq!(findings(vec![document.clone()]), [missing]);
        let other = file("src/x.rs", "#[test]\nfn x_is_new() { compare(\"../docs/y.md\") }");
        assert_eq!(findings(vec![document, other]), [missing]);
    }
}
