//! Committed files contain nothing of the machine on which they were written.

use std::path::Path;

use crate::workspace::{File, Workspace};

/// Where people's home folders are. Put together here, so that this file is clean itself.
fn home_folders() -> [String; 3] {
    ["home", "root", "Users"].map(|folder| format!("/{folder}/"))
}

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.files.iter().flat_map(|file| check_file(file, &workspace.root)).collect()
}

fn check_file(file: &File, root: &Path) -> Vec<String> {
    let checkout = format!("{}/", root.display());
    let mut folders = home_folders().to_vec();
    folders.push(checkout);
    let is_npm_lock = file.path.ends_with("package-lock.json");
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let place = format!("{}:{}", file.path, index + 1);
        if let Some(folder) = folders.iter().find(|folder| names_folder(line, folder)) {
            findings.push(format!("{place}: a path of one machine, in {folder}"));
        }
        if is_npm_lock && line.trim_start().starts_with("\"resolved\":") {
            findings.push(format!("{place}: where one machine found a package"));
        }
    }
    findings
}

/// Whether a line has a path in `folder`; the same letters inside a longer path do not count.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + folder.len()..].chars().next();
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"._-~}/".contains(c));
        begins && after.is_some_and(|c| c.is_alphanumeric() || c == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::file;

    fn findings(path: &str, text: &str) -> usize {
        check_file(&file(path, text), Path::new("/srv/checkout")).len()
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for folder in home_folders() {
            assert_eq!(findings("a.md", &format!("see\n{folder}ada/x and `{folder}ada/y`")), 1);
            assert_eq!(findings("a.md", &format!("PATH={folder}.cargo/bin")), 1);
        }
        assert_eq!(findings("a.toml", "path = \"/srv/checkout/crates/base\""), 1);
    }

    #[test]
    fn other_paths_are_not() {
        for folder in home_folders() {
            assert_eq!(findings("a.md", &format!("https://example.org{folder}page")), 0);
            assert_eq!(findings("a.md", &format!("folders like {folder} are skipped")), 0);
        }
        assert_eq!(findings("a.toml", "path = \"crates/base\""), 0);
    }

    #[test]
    fn a_lock_file_names_no_download() {
        let line = "      \"resolved\": \"x\",";
        assert_eq!(findings("tests/clients/package-lock.json", line), 1);
        assert_eq!(findings("tests/clients/notes.json", line), 0);
    }
}
