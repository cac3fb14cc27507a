//! Sessions of user-interactive authentication, so that any node can go on with one.

use ruma::{OwnedUserId, UserId};

use crate::{Conn, Error, FromRow, Result, Row};

/// A session.
#[derive(Clone, Debug)]
pub struct InteractiveAuthRow {
    /// The operation that it is for.
    pub operation: String,
    /// Whose request it is for, where the request carried an access token.
    pub user_id: Option<OwnedUserId>,
    /// The hash of the request that it is for, from the first completed stage on.
    pub body_hash: Option<String>,
    /// The completed stages, as a JSON array.
    pub completed: String,
    /// What came of the operation, as JSON.
    pub result: Option<String>,
}

impl FromRow for InteractiveAuthRow {
    fn from_row(row: &Row) -> Result<Self> {
        let user_id: Option<String> = row.get(1)?;
        Ok(Self {
            operation: row.get(0)?,
            user_id: user_id.map(UserId::parse).transpose().map_err(Error::corrupt)?,
            body_hash: row.get(2)?,
            completed: row.get(3)?,
            result: row.get(4)?,
        })
    }
}

/// Adds a session, unless `limit` of them that were made no earlier than `oldest_ms` are there.
/// Says whether it was added.
pub async fn insert(
    conn: &mut Conn,
    session_hash: &str,
    session: &InteractiveAuthRow,
    now_ms: i64,
    oldest_ms: i64,
    limit: i64,
) -> Result<bool> {
    let inserted = conn
        .execute(
            "INSERT INTO interactive_auth_sessions
                 (session_hash, operation, user_id, body_hash, completed, result, created_ms)
             SELECT $1, $2, $3, $4, $5, $6, $7
             WHERE (SELECT COUNT(*) FROM interactive_auth_sessions WHERE created_ms >= $8) < $9",
            &[
                session_hash.into(),
                session.operation.as_str().into(),
                session.user_id.as_deref().map(UserId::as_str).into(),
                session.body_hash.as_deref().into(),
                session.completed.as_str().into(),
                session.result.as_deref().into(),
                now_ms.into(),
                oldest_ms.into(),
                limit.into(),
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// The session with this hash, if it was made no earlier than `oldest_ms`.
pub async fn find(
    conn: &mut Conn,
    session_hash: &str,
    oldest_ms: i64,
) -> Result<Option<InteractiveAuthRow>> {
    conn.optional(
        "SELECT operation, user_id, body_hash, completed, result FROM interactive_auth_sessions
         WHERE session_hash = $1 AND created_ms >= $2",
        &[session_hash.into(), oldest_ms.into()],
    )
    .await
}

/// Notes the completed stages, and binds the session to the request. Says whether the session is
/// there and is not bound to another request.
pub async fn complete(
    conn: &mut Conn,
    session_hash: &str,
    completed: &str,
    body_hash: &str,
) -> Result<bool> {
    let changed = conn
        .execute(
            "UPDATE interactive_auth_sessions SET completed = $2, body_hash = $3
             WHERE session_hash = $1 AND (body_hash IS NULL OR body_hash = $3)",
            &[session_hash.into(), completed.into(), body_hash.into()],
        )
        .await?;
    Ok(changed == 1)
}

/// Deletes sessions made before `oldest_ms`. Says how many.
pub async fn prune(conn: &mut Conn, oldest_ms: i64) -> Result<u64> {
    conn.execute("DELETE FROM interactive_auth_sessions WHERE created_ms < $1", &[oldest_ms.into()])
        .await
}
