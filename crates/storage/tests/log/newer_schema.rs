//! A newer version has added a table to the log. This version still works on that schema, and what
//! only the newer one writes is not lost.

use stoa_storage::{Result, Store};
use stoa_testing::{Backend, TestNode, run_on, sample};

use crate::{ROOM, write};

/// A migration that adds a table as CONTRIBUTING.md describes. The calls for existing tables are
/// moved to a function of their own here, so that they need not be repeated.
const MIGRATION: [&str; 4] = [
    "CREATE TABLE rockets (pos BIGINT PRIMARY KEY, name TEXT NOT NULL)",
    "CREATE FUNCTION append_rockets(rows JSONB, head BIGINT) RETURNS VOID
     LANGUAGE plpgsql VOLATILE
     AS $$
     BEGIN
         INSERT INTO rockets (pos, name)
         SELECT head + r.pos, r.name FROM jsonb_to_recordset(rows) AS r(pos BIGINT, name TEXT);
     END
     $$",
    "ALTER FUNCTION append_tables RENAME TO append_known_tables",
    "CREATE FUNCTION append_tables(batch JSONB, head BIGINT) RETURNS VOID
     LANGUAGE plpgsql VOLATILE
     AS $$
     BEGIN
         PERFORM append_known_tables(batch - 'rockets', head);
         IF batch ? 'rockets' THEN PERFORM append_rockets(batch->'rockets', head); END IF;
     END
     $$",
];

/// Appends as a node of the newer version does.
async fn launch(store: &Store, number: i64) -> Result<String> {
    let batch = format!(
        r#"{{"incarnation":9,"seq":{number},"now_ms":1,"seen":0,"positions":1,
            "touched":[["rockets",7]],"rockets":[{{"pos":1,"name":"{number}"}}]}}"#
    );
    let sql = "SELECT append_batch($1::text::jsonb)::text";
    let mut conn = store.write().await?;
    let (answer,) = conn.one(sql, &[(&batch).into()]).await?;
    conn.commit().await?;
    Ok(answer)
}

#[test]
fn a_table_is_added_while_nodes_run_that_do_not_know_it() {
    run_on(Backend::Postgres, async |db| {
        let node = TestNode::start(db).await;
        write(&node, sample::message(1, ROOM)).await;
        let refused = launch(&node.store, 1).await.unwrap_err().to_string();
        assert!(refused.contains("does not know the keys {rockets}"), "{refused}");

        let mut conn = node.store.write().await.unwrap();
        for sql in MIGRATION {
            conn.execute(sql, &[]).await.unwrap();
        }
        conn.commit().await.unwrap();
        assert_eq!(write(&node, sample::message(2, ROOM)).await.last().0, 2);
        let answer = launch(&node.store, 2).await.unwrap();
        assert!(answer.contains(r#""last": 3"#), "{answer}");
        assert_eq!(node.freshness.current().await.unwrap().0, 3);
        assert_eq!(write(&node, sample::message(3, ROOM)).await.last().0, 4);

        let mut conn = node.store.read().await.unwrap();
        let launched: Vec<(i64, String)> =
            conn.all("SELECT pos, name FROM rockets", &[]).await.unwrap();
        assert_eq!(launched, [(3, "2".to_owned())]);
        let sent: Vec<(i64,)> = conn.all("SELECT pos FROM events ORDER BY pos", &[]).await.unwrap();
        assert_eq!(sent, [(1,), (2,), (4,)]);
    });
}
