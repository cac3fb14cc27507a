//! Checks that the databases understand every statement of this crate meant for them.
//!
//! The statements are the texts in the sources that look like one. SQLite prepares a statement for
//! `EXPLAIN`, and PostgreSQL for `PREPARE`.

use std::{fs, path::Path};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection, raw_sql,
};
use stoa_storage::Backend;
use stoa_testing::{TestDatabase, both_databases, run_on};

use super::rust_source::RustSource;

const FOLDERS: [&str; 5] = ["src", "src/log", "src/log/audit", "src/log/table", "src/repo"];

/// Files and folders whose statements are all for one database.
const FILES: [(&str, Backend); 6] = [
    ("src/server.rs", Backend::Postgres),
    ("src/log/table/", Backend::Sqlite),
    ("src/log/sqlite.rs", Backend::Sqlite),
    ("src/log/postgres.rs", Backend::Postgres),
    ("src/log/announce.rs", Backend::Postgres),
    ("src/repo/typing.rs", Backend::Postgres),
];

/// Constructs that occur only in statements for one database.
const TEXTS: [(&str, Backend); 5] = [
    ("pg_", Backend::Postgres),
    ("SET LOCAL", Backend::Postgres),
    ("READ ONLY", Backend::Postgres),
    ("BEGIN DEFERRED", Backend::Sqlite),
    ("BEGIN IMMEDIATE", Backend::Sqlite),
];

/// A statement that is inserted into others, and the text used in its place here.
const INNER: (&str, &str) = ("{guards}", "SELECT 1 AS place, '1' AS reason");

/// The words that statements begin with. Those of the second list cannot be prepared, and are
/// executed instead.
const PREPARED: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
const UTILITIES: [&str; 6] = ["BEGIN", "BEGIN;", "COMMIT", "ROLLBACK", "SET", "LOCK"];

#[derive(Debug)]
struct Statement {
    /// The place in the source.
    place: String,
    text: String,
    /// `None` for both.
    only: Option<Backend>,
}

/// The statements of a file, and texts that look like part of a statement but belong to none.
#[derive(Debug, Default)]
struct Found {
    statements: Vec<Statement>,
    pieces: Vec<String>,
}

/// The text of a macro, such as `SELECT … FROM events `, that others in the file continue.
struct Beginning {
    text: String,
    place: String,
    is_used: bool,
}

impl Found {
    fn in_file(&mut self, path: &str, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        let mut beginning: Option<Beginning> = None;
        let mut postgres_is_next = false;
        for literal in RustSource::parse(source).strings {
            let place = format!("{path}:{}", literal.line);
            let mut text = unescaped(&literal.text).replace(INNER.0, INNER.1);
            if text.starts_with("(SELECT") {
                text = format!("SELECT {text}");
            }
            let line = lines[literal.line - 1];
            let same_line = line.split('"').next().unwrap_or_default().trim();
            let before = if same_line.is_empty() && literal.line > 1 {
                lines[literal.line - 2]
            } else {
                line
            };
            let only = if std::mem::take(&mut postgres_is_next) {
                Some(Backend::Postgres)
            } else if before.contains("either(") {
                postgres_is_next = true;
                Some(Backend::Sqlite)
            } else if before.contains("SQLITE") || before.contains("Sqlite =>") {
                Some(Backend::Sqlite)
            } else if before.contains("POSTGRES") || before.contains("Postgres =>") {
                Some(Backend::Postgres)
            } else {
                let of_text = TEXTS.iter().find(|(piece, _)| text.contains(piece));
                let of_file = FILES.iter().find(|(file, _)| path.starts_with(file));
                of_text.or(of_file).map(|(_, backend)| *backend)
            };
            let verb = text.split_whitespace().next().unwrap_or_default();
            if PREPARED.contains(&verb) && text.ends_with(' ') {
                self.pieces.extend(beginning.take().and_then(Beginning::unused));
                beginning = Some(Beginning { text, place, is_used: false });
            } else if PREPARED.contains(&verb) || UTILITIES.contains(&verb) {
                self.statements.push(Statement { place, text, only });
            } else if let Some(beginning) = &mut beginning
                && verb == "WHERE"
            {
                beginning.is_used = true;
                let text = format!("{}{text}", beginning.text);
                self.statements.push(Statement { place, text, only });
            } else if looks_like_sql(&text) {
                self.pieces.push(format!("{place}: {text}"));
            }
        }
        self.pieces.extend(beginning.and_then(Beginning::unused));
    }
}

impl Beginning {
    fn unused(self) -> Option<String> {
        (!self.is_used).then(|| format!("{}: {}", self.place, self.text))
    }
}

fn looks_like_sql(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.any(|word| matches!(word, "SELECT" | "FROM" | "WHERE" | "INTO" | "SET" | "VALUES"))
}

/// The value of a string literal that is written like this.
fn unescaped(literal: &str) -> String {
    let mut text = String::new();
    let mut rest = literal.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('0') => text.push('\0'),
                Some('\n') => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                other => text.extend(other),
            },
            c => text.push(c),
        }
    }
    text
}

fn found() -> Found {
    let mut found = Found::default();
    for folder in FOLDERS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for file in fs::read_dir(path).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "rs") {
                let name = format!("{folder}/{}", file.file_name().unwrap().to_str().unwrap());
                found.in_file(&name, &fs::read_to_string(&file).unwrap());
            }
        }
    }
    found
}

/// The reason why SQLite does not understand the statement, if it does not.
async fn refused_by_sqlite(conn: &mut SqliteConnection, text: &str) -> Option<sqlx::Error> {
    conn.execute(raw_sql(AssertSqlSafe(format!("EXPLAIN {text}")))).await.err()
}

/// The reason why PostgreSQL does not understand the statement, whatever the types of its
/// parameters are. A parameter alone in the list of a SELECT has no type that could be inferred.
async fn refused_by_postgres(conn: &mut PgConnection, text: &str) -> Option<sqlx::Error> {
    let verb = text.split_whitespace().next().unwrap_or_default();
    if UTILITIES.contains(&verb) {
        let begin = if verb.starts_with("BEGIN") { "" } else { "BEGIN;" };
        return conn
            .execute(raw_sql(AssertSqlSafe(format!("{begin} {text}; ROLLBACK"))))
            .await
            .err();
    }
    let parameters = (1..).take_while(|number| text.contains(&format!("${number}"))).count();
    let mut first_error = None;
    for other in ["bigint", "bytea"] {
        for set in 0..1_u32 << parameters {
            let types: Vec<&str> = (0..parameters)
                .map(|parameter| match (set >> parameter & 1, other) {
                    (0, "bytea") => "bigint",
                    (0, _) => "unknown",
                    (_, other) => other,
                })
                .collect();
            let types =
                if types.is_empty() { String::new() } else { format!("({})", types.join(", ")) };
            let prepare = format!("PREPARE tried {types} AS {text}");
            match conn.execute(raw_sql(AssertSqlSafe(prepare))).await {
                Ok(_) => {
                    conn.execute("DEALLOCATE tried").await.unwrap();
                    return None;
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
    }
    first_error
}

async fn refused(db: &TestDatabase) -> Vec<String> {
    db.store().await.close().await;
    let statements = found().statements;
    let mut refused = Vec::new();
    match db.backend() {
        Backend::Sqlite => {
            let mut conn = SqliteConnection::connect(db.url()).await.unwrap();
            for Statement { place, text, only } in &statements {
                if *only != Some(Backend::Postgres)
                    && let Some(error) = refused_by_sqlite(&mut conn, text).await
                {
                    refused.push(format!("{place}: {error}\n{text}"));
                }
            }
        }
        Backend::Postgres => {
            let mut conn = PgConnection::connect(db.url()).await.unwrap();
            for Statement { place, text, only } in &statements {
                if *only != Some(Backend::Sqlite)
                    && let Some(error) = refused_by_postgres(&mut conn, text).await
                {
                    refused.push(format!("{place}: {error}\n{text}"));
                }
            }
        }
    }
    refused
}

both_databases! {
    async fn every_statement_is_understood(db: TestDatabase) {
        let refused = refused(db).await;
        assert!(refused.is_empty(), "{}", refused.join("\n\n"));
    }
}

/// The statements in the log's functions are prepared when they are called, here with no rows.
#[test]
fn every_function_of_the_log_is_understood() {
    run_on(Backend::Postgres, async |db| {
        db.store().await.close().await;
        let mut conn = PgConnection::connect(db.url()).await.unwrap();
        let sql = "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            AND proname LIKE 'append\\_%' AND proname <> 'append_batch' ORDER BY proname";
        let functions: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap();
        assert!(functions.len() >= 15, "{functions:?}");
        for function in functions {
            let rows = match function.as_str() {
                // A link is over at least one entry.
                "append_audit" => r#"["{}"]"#,
                "append_tables" => "{}",
                _ => "[]",
            };
            let call = format!("SELECT {function}('{rows}', 0)");
            let called = conn.execute(raw_sql(AssertSqlSafe(call))).await;
            assert!(called.is_ok(), "{function}: {called:?}");
        }
    });
}

/// The plan for the guards is made once, perhaps while the tables are small. No part of it may read
/// a whole table, or hash one.
#[test]
fn guards_are_looked_up_by_key() {
    run_on(Backend::Postgres, async |db| {
        db.store().await.close().await;
        let mut conn = PgConnection::connect(db.url()).await.unwrap();
        for setting in ["enable_seqscan", "enable_hashjoin", "enable_mergejoin"] {
            let set = format!("SET {setting} = off");
            conn.execute(raw_sql(AssertSqlSafe(set))).await.unwrap();
        }
        conn.execute("SET plan_cache_mode = force_generic_plan").await.unwrap();
        let prepare = "PREPARE guards (jsonb) AS SELECT * FROM broken_guards($1)";
        conn.execute(prepare).await.unwrap();
        let explain = "EXPLAIN EXECUTE guards ('{}')";
        let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut conn).await.unwrap();
        let lines = |with: &str| plan.iter().filter(|line| line.contains(with)).count();
        let (scans, keys) = (lines("Scan using"), lines("Index Cond:"));
        assert_eq!((scans, keys, lines("Bitmap"), lines("hashed")), (5, 5, 0, 0), "{plan:#?}");
    });
}

#[test]
fn nothing_that_looks_like_a_statement_is_left_out() {
    let Found { statements, pieces } = found();
    assert!(statements.len() > 120, "the scan finds only {} statements", statements.len());
    assert!(pieces.is_empty(), "{}", pieces.join("\n\n"));
}

#[test]
fn statements_are_found_with_their_databases() {
    let source = r#"
        const A_SQLITE: &str = "SELECT 1";
        const POSTGRES: &str = "
            SELECT 2 -- \"two\"";
        fn f() {
            conn.either("SELECT 3", "SELECT 4");
            conn.either(
                "SELECT 5",
                "SELECT 6",
            );
            conn.all("SELECT 7", &[]);
            concat!("SELECT a \
                     FROM b ", $rest);
            g!("WHERE c"); // "SELECT 8"
            h!("no statement", "LEFT JOIN b WHERE d");
        }
    "#;
    let mut found = Found::default();
    found.in_file("src/a.rs", source);
    let texts: Vec<_> =
        found.statements.iter().map(|found| (found.text.trim(), found.only)).collect();
    let (sqlite, postgres) = (Some(Backend::Sqlite), Some(Backend::Postgres));
    assert_eq!(
        texts,
        [
            ("SELECT 1", sqlite),
            ("SELECT 2 -- \"two\"", postgres),
            ("SELECT 3", sqlite),
            ("SELECT 4", postgres),
            ("SELECT 5", sqlite),
            ("SELECT 6", postgres),
            ("SELECT 7", None),
            ("SELECT a FROM b WHERE c", None),
        ]
    );
    assert_eq!(found.pieces, ["src/a.rs:15: LEFT JOIN b WHERE d"]);
}

#[test]
fn a_statement_that_does_not_fit_the_schema_is_refused() {
    run_on(Backend::Sqlite, async |db| {
        db.store().await.close().await;
        let mut conn = SqliteConnection::connect(db.url()).await.unwrap();
        assert!(refused_by_sqlite(&mut conn, "SELECT user_id FROM users").await.is_none());
        assert!(refused_by_sqlite(&mut conn, "SELECT no_column FROM users").await.is_some());
    });
    run_on(Backend::Postgres, async |db| {
        db.store().await.close().await;
        let mut conn = PgConnection::connect(db.url()).await.unwrap();
        assert!(refused_by_postgres(&mut conn, "SELECT user_id FROM users").await.is_none());
        assert!(refused_by_postgres(&mut conn, "SELECT no_column FROM users").await.is_some());
        assert!(refused_by_postgres(&mut conn, "BEGIN").await.is_none());
        assert!(refused_by_postgres(&mut conn, "LOCK TABLE no_table").await.is_some());
    });
}
