//! The documents name only files and tests that exist.

use std::collections::BTreeSet;

use crate::workspace::{File, Workspace};

/// Documents that tell how things were.
const PASSED_OVER: &[&str] = &["CHANGELOG.md"];

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let functions: BTreeSet<&str> = workspace
        .files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| file.text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(|c: char| !is_word(c)).next())
        .collect();
    workspace
        .files
        .iter()
        .filter(|file| file.has_extension("md") && !PASSED_OVER.contains(&file.path.as_str()))
        .flat_map(|file| check_document(workspace, &functions, file))
        .collect()
}

fn check_document(workspace: &Workspace, functions: &BTreeSet<&str>, file: &File) -> Vec<String> {
    let is_known = |name: &str| {
        if names_a_file(name) {
            workspace.files.iter().any(|file| ends_with_path(&file.path, name))
        } else if let Some(beginning) = name.strip_suffix('…') {
            !names_a_test(beginning) || functions.iter().any(|test| test.starts_with(beginning))
        } else {
            !names_a_test(name) || functions.contains(name)
        }
    };
    let unknown = file.text.split('`').skip(1).step_by(2).filter(|name| !is_known(name));
    unknown.map(|name| format!("{}: `{name}` does not exist", file.path)).collect()
}

/// Whether it is the path or the name of a source file. What has a placeholder in it is an example.
fn names_a_file(name: &str) -> bool {
    let is_path = |c: char| is_word(c) || matches!(c, '/' | '.' | '-');
    name.strip_suffix(".rs").is_some_and(|stem| stem.chars().all(is_path))
}

/// Whether it is a sentence in the form of a name, as tests have.
fn names_a_test(name: &str) -> bool {
    name.matches('_').count() >= 4
        && !name.starts_with("stoa_")
        && !name.starts_with('_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn ends_with_path(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::{file, workspace};

    fn findings(text: &str) -> Vec<String> {
        let source = file("crates/p/src/rooms.rs", "async fn a_room_is_left_at_once() {}");
        check(&workspace(vec![], vec![source, file("docs/proofs.md", text)]))
    }

    #[test]
    fn files_and_tests_that_exist_can_be_named() {
        for text in [
            "`crates/p/src/rooms.rs`, `src/rooms.rs` and `rooms.rs`",
            "`a_room_is_left_at_once` and `a_room_is_left…`",
            "`src/client/<chapter>.rs`, `limits.max_request_bytes`, `stoa_log_group_size_total_count`",
        ] {
            assert_eq!(findings(text), Vec::<String>::new());
        }
    }

    #[test]
    fn others_are_findings() {
        for name in ["src/room.rs", "ooms.rs", "a_room_is_left_at_last", "a_room_is_not_left…"] {
            let expected = format!("docs/proofs.md: `{name}` does not exist");
            assert_eq!(findings(&format!("See `{name}`.")), [expected]);
        }
    }
}
