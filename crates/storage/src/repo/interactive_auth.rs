//! Sessions of user-interactive authentication that have completed a stage, stored so that any node
//! can continue them.

use ruma::{OwnedUserId, UserId};

use crate::{Conn, Error, FromRow, Result, Row};

/// An authentication session as it is stored.
#[derive(Clone, Debug)]
pub struct InteractiveAuthRow {
    /// The operation that the session is for.
    pub operation: String,
    /// The user who makes the request, if it carries an access token.
    pub user_id: Option<OwnedUserId>,
    /// The hash of the request that the session is for, once a stage is completed.
    pub body_hash: Option<String>,
    /// The completed stages, as a JSON array.
    pub completed: String,
    /// The outcome of the operation, as JSON.
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

/// The session with this hash, if it was created no earlier than `oldest_ms`.
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

/// Stores the completed stages and the request that they are for. `created_ms` is when the session
/// began. Returns whether that was possible: the session may be bound to another request.
pub async fn complete(
    conn: &mut Conn,
    session_hash: &str,
    session: &InteractiveAuthRow,
    created_ms: i64,
    requester: &str,
) -> Result<bool> {
    let changed = conn
        .execute(
            "INSERT INTO interactive_auth_sessions AS s
                 (session_hash, operation, user_id, body_hash, completed, created_ms, requester)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (session_hash) DO UPDATE
             SET completed = excluded.completed, body_hash = excluded.body_hash
             WHERE s.body_hash IS NULL OR s.body_hash = excluded.body_hash",
            &[
                session_hash.into(),
                session.operation.as_str().into(),
                session.user_id.as_deref().map(UserId::as_str).into(),
                session.body_hash.as_deref().into(),
                session.completed.as_str().into(),
                created_ms.into(),
                requester.into(),
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Deletes a requester's oldest sessions beyond `limit`.
pub async fn trim(conn: &mut Conn, requester: &str, limit: i64) -> Result<()> {
    conn.execute(
        "DELETE FROM interactive_auth_sessions WHERE session_hash IN (
             SELECT session_hash FROM interactive_auth_sessions WHERE requester = $1
             ORDER BY created_ms DESC, session_hash LIMIT 1000 OFFSET $2)",
        &[requester.into(), limit.into()],
    )
    .await?;
    Ok(())
}

/// Deletes sessions created before `oldest_ms`, and returns how many.
pub async fn prune(conn: &mut Conn, oldest_ms: i64) -> Result<u64> {
    conn.execute("DELETE FROM interactive_auth_sessions WHERE created_ms < $1", &[oldest_ms.into()])
        .await
}
