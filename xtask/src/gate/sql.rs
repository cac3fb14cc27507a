//! SQL stands in `crates/storage` and in the migrations, and nowhere else.

use crate::{
    rust_source::RustSource,
    workspace::{File, Workspace},
};

const HOMES: &[&str] = &[
    "crates/storage/",
    "migrations/",
    // Makes and drops the databases that tests run in.
    "crates/testing/src/database.rs",
    // Starts, breaks and promotes the PostgreSQL of a test.
    "crates/testing/src/postgres_server.rs",
    // Counts what tests have written, and changes it behind the nodes' backs.
    "crates/testing/src/written_rows.rs",
    "crates/testing/src/surgery.rs",
    // This file has to say what SQL looks like.
    "xtask/src/gate/sql.rs",
];

/// What a definition can be of.
const OBJECTS: &[&str] =
    &["DATABASE", "FUNCTION", "INDEX", "ROLE", "SCHEMA", "TABLE", "TRIGGER", "TYPE", "VIEW"];

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    workspace.files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<String> {
    if HOMES.iter().any(|home| file.path.starts_with(home)) {
        return Vec::new();
    }
    if file.has_extension("sql") {
        return vec![format!("{}: SQL belongs into crates/storage or migrations", file.path)];
    }
    if !file.is_rust() {
        return Vec::new();
    }
    RustSource::parse(&file.text)
        .strings
        .into_iter()
        .filter(|string| is_statement(&string.text))
        .map(|string| format!("{}:{}: SQL belongs into crates/storage", file.path, string.line))
        .collect()
}

/// Whether a text is a statement. A verb with only its first letter large begins a sentence.
fn is_statement(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(|c: char| !c.is_alphanumeric()).collect();
    let has = |word: &str| words.contains(&word);
    let verb = text.split_whitespace().next().unwrap_or_default();
    let in_capitals = verb.chars().all(|c| c.is_ascii_uppercase());
    if !in_capitals && verb.chars().any(|c| c.is_ascii_uppercase()) {
        return false;
    }
    match verb.to_ascii_uppercase().as_str() {
        "SELECT" => in_capitals || has("FROM"),
        "INSERT" | "REPLACE" => has("INTO"),
        "UPDATE" => has("SET"),
        "DELETE" => has("FROM"),
        "WITH" => upper.contains(" AS (") && has("SELECT"),
        "CREATE" | "ALTER" | "DROP" | "TRUNCATE" => OBJECTS.iter().any(|object| has(object)),
        "PRAGMA" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::fixture::file;

    #[test]
    fn statements_are_distinguished_from_sentences() {
        for text in [
            "SELECT 1",
            "\n    select name from users",
            "INSERT INTO users VALUES ($1)",
            "INSERT OR IGNORE INTO users VALUES ($1)",
            "UPDATE users SET name = $1",
            "DELETE FROM users",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "CREATE UNIQUE INDEX users_name ON users (name)",
            "PRAGMA journal_mode = WAL",
        ] {
            assert!(is_statement(text), "{text}");
        }
        for text in [
            "",
            "SELECTED",
            "select a room",
            "Select a room from the list",
            "Update the set of members",
            "with the room as (optional) name",
            "m.room.create",
            "delete",
        ] {
            assert!(!is_statement(text), "{text}");
        }
    }

    #[test]
    fn a_finding_names_file_and_line() {
        let found = check_file(&file("src/admin.rs", "fn f() {\n    run(\"SELECT 1\")\n}"));
        assert_eq!(found, ["src/admin.rs:2: SQL belongs into crates/storage"]);
        assert_eq!(check_file(&file("docs/schema.sql", "")).len(), 1);
    }

    #[test]
    fn storage_comments_and_other_files_may_speak_sql() {
        for (path, text) in [
            ("crates/storage/src/users.rs", "const Q: &str = \"SELECT 1\";"),
            ("migrations/sqlite/0001_users.sql", "CREATE TABLE users (id BIGINT);"),
            ("src/app.rs", "// \"SELECT 1\""),
            ("docs/running.md", "\"SELECT 1\""),
        ] {
            assert_eq!(check_file(&file(path, text)), Vec::<String>::new(), "{path}");
        }
    }
}
