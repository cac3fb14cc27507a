//! Writes a batch to SQLite: one text on the one writing connection, from BEGIN to COMMIT.
//!
//! Each text that is handed to SQLite's thread costs two thread switches, which is more than most
//! statements take. So a batch is one text, composed of the statements that it needs. It ends at
//! the first statement that fails, and the reason is looked up afterwards.

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Either, Executor as _, Row as _, Sqlite, pool::PoolConnection, query::Query,
};
use stoa_base::{Clock, Pos};

use super::{
    audit,
    conflict::Conflict,
    joined_appends::JoinedAppends,
    mark::BatchKey,
    written::{Timing, Written},
};
use crate::{Conn, Error, Result, Store, statements};

/// Writes the batch. If appends must not be written, returns them and writes nothing.
pub(super) async fn write(
    store: &Store,
    batch: &JoinedAppends,
    key: BatchKey,
    clock: &Clock,
    timing: &mut Timing,
) -> Result<Written> {
    let asked = clock.monotonic();
    let conn = Transaction { conn: store.sqlite_writer().await?, has_ended: false };
    timing.lock_wait = asked.elapsed();

    store.writes().add();
    match conn.run(batch, key, clock.now_ms()).await {
        Err(error) if error.is_refusal() => {
            let conflicts = conflicts(&mut store.read().await?, batch).await?;
            if conflicts.is_empty() { Err(error) } else { Ok(Written::Conflicts(conflicts)) }
        }
        outcome => outcome,
    }
}

/// The statements of a batch, and the values bound to them.
struct Text {
    sql: String,
    /// The numbers `$1` to `$4`.
    numbers: [i64; 4],
    /// The values from `$5` on.
    texts: Vec<String>,
}

impl Text {
    /// The text from BEGIN to COMMIT. `link` is the audit chain's link for the batch's entries; if
    /// there is one, the transaction has already begun.
    fn new(
        batch: &JoinedAppends,
        key: BatchKey,
        now_ms: i64,
        link: Option<String>,
    ) -> Result<Self> {
        let mut text = Self {
            sql: String::new(),
            numbers: [batch.positions, key.incarnation, key.seq, now_ms],
            texts: vec![to_json(&batch.touched)?],
        };
        if link.is_none() {
            text.add("BEGIN IMMEDIATE");
        }
        let mut guards = Vec::new();
        for kind in &batch.guards {
            let json = text.bind(kind.json.clone());
            guards.extend(kind.sqlite.iter().map(|sql| sql.replace("$1", &json)));
        }
        if !guards.is_empty() {
            text.add_guards(&guards.join("\nUNION ALL"));
        }
        text.add(LOG_BATCH);
        for rows in &batch.tables {
            let json = text.bind(rows.json.clone());
            for sql in rows.sqlite {
                text.add(&sql.replace("$2", HEAD).replace("$1", &json));
            }
        }
        if let Some(link) = link {
            let (entries, link) = (text.bind(to_json(&batch.audit)?), text.bind(link));
            text.add(&AUDIT_ENTRIES.replace("$1", &entries));
            text.add(&AUDIT_LINK.replace("$1", &link));
        }
        text.add("COMMIT");
        Ok(text)
    }

    fn add_guards(&mut self, guards: &str) {
        // A reason other than 'moved' is not valid JSON. So `json` fails on it, and the text ends
        // there, before anything is written.
        self.add(&format!(
            "SELECT CASE reason WHEN 'moved' THEN place ELSE json(reason) END FROM ({guards})"
        ));
    }

    fn add(&mut self, sql: &str) {
        self.sql.push_str(sql);
        self.sql.push(';');
    }

    /// Binds a text, and returns the placeholder for it.
    fn bind(&mut self, text: String) -> String {
        self.texts.push(text);
        format!("${}", self.numbers.len() + self.texts.len())
    }
}

/// The writing connection. If its user is cancelled in the middle of a text, the connection is
/// still in a transaction, so it is closed instead of being returned to the pool.
struct Transaction {
    conn: PoolConnection<Sqlite>,
    has_ended: bool,
}

impl Transaction {
    /// Writes the batch, or rolls back.
    async fn run(mut self, batch: &JoinedAppends, key: BatchKey, now_ms: i64) -> Result<Written> {
        let outcome = self.write(batch, key, now_ms).await;
        self.has_ended = match &outcome {
            Ok(_) => true,
            // If the disk is full or fails, SQLite has ended the transaction by itself, and it is
            // safer to open a new connection.
            Err(_) => self.conn.execute("ROLLBACK").await.is_ok(),
        };
        outcome
    }

    async fn write(
        &mut self,
        batch: &JoinedAppends,
        key: BatchKey,
        now_ms: i64,
    ) -> Result<Written> {
        if batch.audit.is_empty() {
            return self.fetch(Text::new(batch, key, now_ms, None)?).await;
        }
        // SQLite has no SHA-256, so the link is computed here. Its inputs must not change
        // meanwhile, so the transaction begins first.
        self.conn.execute("BEGIN IMMEDIATE").await?;
        let row = self.conn.fetch_one(AUDIT_HEAD).await?;
        let (head, previous): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let link = audit::link(previous.as_deref(), head + batch.positions, &batch.audit);
        self.fetch(Text::new(batch, key, now_ms, Some(link))?).await
    }

    async fn fetch(&mut self, text: Text) -> Result<Written> {
        statements::follow(SHOWN, Box::pin(self.written(text)), |_| None).await
    }

    async fn written(&mut self, text: Text) -> Result<Written> {
        let query = sqlx::query(AssertSqlSafe(text.sql));
        let query = text.numbers.into_iter().fold(query, Query::bind);
        let query = text.texts.into_iter().fold(query, Query::bind);
        let mut results = self.conn.fetch_many(query);
        let (mut moved, mut written) = (Vec::new(), None);
        while let Some(result) = results.try_next().await? {
            match result {
                Either::Left(_) => {}
                Either::Right(row) if row.len() == 1 => {
                    let place: i64 = row.try_get(0)?;
                    moved.push(usize::try_from(place).map_err(Error::answer)?);
                }
                Either::Right(row) => {
                    written = Some((Pos(row.try_get(0)?), Pos(row.try_get(1)?)));
                }
            }
        }
        let (prev, last) = written.ok_or_else(|| Error::answer("a batch without positions"))?;
        Ok(Written::Committed { prev, last, moved })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.has_ended {
            self.conn.close_on_drop();
        }
    }
}

/// Which appends of a refused batch must not be written: those whose guards are broken, or else
/// those whose rooms and events already exist.
async fn conflicts(conn: &mut Conn, batch: &JoinedAppends) -> Result<Vec<Conflict>> {
    let mut conflicts = Vec::new();
    for guards in &batch.guards {
        for sql in guards.sqlite {
            let broken: Vec<(i64, String)> = conn.all(sql, &[(&guards.json).into()]).await?;
            let broken = broken.iter().filter(|(_, reason)| reason != "moved");
            for (place, reason) in broken {
                conflicts.push(Conflict::at_place(*place, reason)?);
            }
        }
    }
    if !conflicts.is_empty() {
        return Ok(conflicts);
    }
    for rows in &batch.tables {
        let Some(sql) = rows.taken else { continue };
        let taken: Vec<(i64, String)> = conn.all(sql, &[(&rows.json).into()]).await?;
        for (nid, reason) in taken {
            conflicts.push(Conflict::of_nid(nid, &reason)?);
        }
    }
    Ok(conflicts)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::fault)
}

/// Shown in traces instead of the text of a batch, which differs from batch to batch.
const SHOWN: &str = "append a batch to log_batches";

/// The head before the batch, once [`LOG_BATCH`] has run.
const HEAD: &str = "(SELECT prev_pos FROM log_batches ORDER BY last_pos DESC LIMIT 1)";

const LOG_BATCH: &str = "
INSERT INTO log_batches (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
SELECT coalesce(max(last_pos), 0) + $1, coalesce(max(last_pos), 0), $2, $3, $4, $5 FROM log_batches
RETURNING prev_pos, last_pos";

/// The head of the log, and the last link of the audit chain.
const AUDIT_HEAD: &str = "
SELECT (SELECT coalesce(max(last_pos), 0) FROM log_batches),
    (SELECT link FROM audit_chain ORDER BY pos DESC LIMIT 1)";

const AUDIT_ENTRIES: &str = "
INSERT INTO audit_log (pos, n, entry)
SELECT (SELECT max(last_pos) FROM log_batches), key, value FROM json_each($1)";

const AUDIT_LINK: &str = "
INSERT INTO audit_chain (pos, link) SELECT max(last_pos), $1 FROM log_batches";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stoa_base::RoomNid;

    use super::*;
    use crate::log::{AccountState, Append, Chain, Guard};

    #[test]
    fn the_guards_of_a_batch_are_one_statement() {
        let guards = vec![
            Guard::Head(Arc::new(Chain::new(RoomNid(7), Pos(1), Pos(1)))),
            Guard::Session("session".to_owned()),
            Guard::Account("@a:test".to_owned(), AccountState::Open),
        ];
        let batch = JoinedAppends::new(&[&Append { guards, ..Append::new() }]).unwrap();
        let text = Text::new(&batch, BatchKey { incarnation: 1, seq: 1 }, 1, None).unwrap();
        assert_eq!(text.sql.matches("CASE reason").count(), 1, "{}", text.sql);
        assert_eq!(text.texts.len(), 4);
    }
}
