//! Both databases go through the same migrations: the same names, in the same order.

use std::collections::BTreeSet;

use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let sqlite = names(workspace, "migrations/sqlite/");
    let postgres = names(workspace, "migrations/postgres/");
    let mut findings = Vec::new();
    for name in sqlite.difference(&postgres) {
        findings.push(format!("migrations/sqlite/{name}: not in migrations/postgres"));
    }
    for name in postgres.difference(&sqlite) {
        findings.push(format!("migrations/postgres/{name}: not in migrations/sqlite"));
    }
    let mut numbers = BTreeSet::new();
    for name in sqlite.union(&postgres) {
        match number(name) {
            None => findings.push(format!("{name}: not named NUMBER_WHAT_IT_DOES.sql")),
            Some(number) if !numbers.insert(number) => {
                findings.push(format!("{name}: another migration has the same number"));
            }
            Some(_) => {}
        }
    }
    findings
}

fn names<'a>(workspace: &'a Workspace, folder: &str) -> BTreeSet<&'a str> {
    workspace.files.iter().filter_map(|file| file.path.strip_prefix(folder)).collect()
}

fn number(name: &str) -> Option<u64> {
    let (number, what) = name.strip_suffix(".sql")?.split_once('_')?;
    let is_plain = what.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if what.is_empty() || !is_plain { None } else { number.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::{file, workspace};

    fn findings(paths: &[&str]) -> Vec<String> {
        let files = paths.iter().map(|path| file(&format!("migrations/{path}"), "")).collect();
        check(&workspace(vec![], files))
    }

    #[test]
    fn the_same_names_are_fine() {
        assert_eq!(findings(&[]), Vec::<String>::new());
        let both = ["sqlite/0001_log.sql", "postgres/0001_log.sql"];
        assert_eq!(findings(&both), Vec::<String>::new());
    }

    #[test]
    fn a_name_in_one_folder_only_is_found() {
        assert_eq!(
            findings(&["sqlite/0001_log.sql", "postgres/0002_users.sql"]),
            [
                "migrations/sqlite/0001_log.sql: not in migrations/postgres",
                "migrations/postgres/0002_users.sql: not in migrations/sqlite",
            ]
        );
    }

    #[test]
    fn a_number_is_used_once() {
        let names = ["sqlite/1_a.sql", "sqlite/1_b.sql", "postgres/1_a.sql", "postgres/1_b.sql"];
        assert_eq!(findings(&names), ["1_b.sql: another migration has the same number"]);
    }

    #[test]
    fn a_name_says_its_number_and_what_it_does() {
        for name in ["log.sql", "0001.sql", "0001_.sql", "0001_Log.sql", "0001_log.txt"] {
            let found = findings(&[&format!("sqlite/{name}"), &format!("postgres/{name}")]);
            assert_eq!(found, [format!("{name}: not named NUMBER_WHAT_IT_DOES.sql")]);
        }
    }
}
