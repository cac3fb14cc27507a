//! The running nodes of the deployment, by the database's clock.

use crate::{Conn, Result};

/// Reports that the node's run `incarnation` is alive. Nodes do this regularly.
pub async fn beat(conn: &mut Conn, incarnation: i64, version: &str) -> Result<()> {
    let now_ms = conn.now_ms().await?;
    conn.execute(
        "INSERT INTO nodes (incarnation, version, started_ms, heartbeat_ms) VALUES ($1, $2, $3, $3)
         ON CONFLICT (incarnation) DO UPDATE SET heartbeat_ms = excluded.heartbeat_ms",
        &[incarnation.into(), version.into(), now_ms.into()],
    )
    .await?;
    Ok(())
}

/// How many nodes have reported within the last `within_ms`.
pub async fn count_live(conn: &mut Conn, within_ms: i64) -> Result<i64> {
    let since_ms = conn.now_ms().await? - within_ms;
    let (count,) =
        conn.one("SELECT COUNT(*) FROM nodes WHERE heartbeat_ms >= $1", &[since_ms.into()]).await?;
    Ok(count)
}

/// Deletes a node that is shutting down.
pub async fn remove(conn: &mut Conn, incarnation: i64) -> Result<()> {
    conn.execute("DELETE FROM nodes WHERE incarnation = $1", &[incarnation.into()]).await?;
    Ok(())
}

/// Deletes the nodes that have not reported for `silent_ms`, and returns how many.
pub async fn prune(conn: &mut Conn, silent_ms: i64) -> Result<u64> {
    let before_ms = conn.now_ms().await? - silent_ms;
    conn.execute("DELETE FROM nodes WHERE heartbeat_ms < $1", &[before_ms.into()]).await
}
