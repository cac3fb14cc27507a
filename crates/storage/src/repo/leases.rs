//! Leases: they let one node at a time do something, by the database's clock.
//!
//! A row stays when its lease ends, so that the next fencing number is larger. No number is given
//! out twice even if the row is deleted or an older copy of the database is restored, because each
//! is at least the time at which it was given out, in microseconds.

use crate::{Conn, Error, Result};

/// A lease as held by one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The name of the lease.
    pub name: String,
    /// The partition, if the lease is divided; otherwise zero.
    pub partition: i64,
    /// The fencing number, larger than that of every earlier holder.
    pub number: i64,
}

impl Fence {
    /// Makes sure that nobody else has taken the lease, and that nobody takes it until this
    /// transaction ends. Must be called in each transaction that writes under the lease: a holder
    /// that was frozen for an unknown time is refused with [`Error::LeaseLost`].
    ///
    /// If the transaction also takes the log lock, it takes that one first.
    pub async fn check(&self, conn: &mut Conn) -> Result<()> {
        // The row lock is shared, so that many transactions can write under one lease at the same
        // time. SQLite has only one writer anyway.
        let sql = conn.either(
            "SELECT fence FROM leases WHERE name = $1 AND partition = $2 AND fence = $3",
            "SELECT fence FROM leases WHERE name = $1 AND partition = $2 AND fence = $3 FOR SHARE",
        );
        let found: Option<(i64,)> = conn.optional(sql, &self.binds()).await?;
        found.map(|_| ()).ok_or(Error::LeaseLost)
    }

    fn binds(&self) -> [crate::Bind<'_>; 3] {
        [(&self.name).into(), self.partition.into(), self.number.into()]
    }
}

/// Takes a lease for `ttl_ms` if it is free. `holder` is the node's run.
pub async fn acquire(
    conn: &mut Conn,
    name: &str,
    partition: i64,
    holder: i64,
    ttl_ms: i64,
) -> Result<Option<Fence>> {
    let now_ms = conn.now_ms().await?;
    let taken: Option<(i64,)> = conn
        .optional(
            "INSERT INTO leases (name, partition, holder, fence, expires_ms)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name, partition) DO UPDATE SET holder = excluded.holder,
                 fence = CASE WHEN leases.fence < excluded.fence THEN excluded.fence
                     ELSE leases.fence + 1 END,
                 expires_ms = excluded.expires_ms
             WHERE leases.expires_ms <= $6
             RETURNING fence",
            &[
                name.into(),
                partition.into(),
                holder.into(),
                now_ms.saturating_mul(1_000).into(),
                now_ms.saturating_add(ttl_ms).into(),
                now_ms.into(),
            ],
        )
        .await?;
    Ok(taken.map(|(number,)| Fence { name: name.to_owned(), partition, number }))
}

/// Extends a lease to `ttl_ms` from now. Returns false if it was lost.
pub async fn renew(conn: &mut Conn, fence: &Fence, ttl_ms: i64) -> Result<bool> {
    let expires_ms = conn.now_ms().await?.saturating_add(ttl_ms);
    let [name, partition, number] = fence.binds();
    let renewed = conn
        .execute(
            "UPDATE leases SET expires_ms = $4
             WHERE name = $1 AND partition = $2 AND fence = $3 AND expires_ms > 0",
            &[name, partition, number, expires_ms.into()],
        )
        .await?;
    Ok(renewed == 1)
}

/// Releases a lease, so that the next holder need not wait for it to expire.
pub async fn release(conn: &mut Conn, fence: &Fence) -> Result<()> {
    conn.execute(
        "UPDATE leases SET expires_ms = 0 WHERE name = $1 AND partition = $2 AND fence = $3",
        &fence.binds(),
    )
    .await?;
    Ok(())
}

/// Releases all leases of a node's run.
pub async fn release_all(conn: &mut Conn, holder: i64) -> Result<()> {
    conn.execute("UPDATE leases SET expires_ms = 0 WHERE holder = $1", &[holder.into()]).await?;
    Ok(())
}

/// Deletes leases that were released or expired long ago, and returns how many.
pub async fn prune(conn: &mut Conn, ended_for_ms: i64) -> Result<u64> {
    let before_ms = conn.now_ms().await? - ended_for_ms;
    conn.execute("DELETE FROM leases WHERE expires_ms < $1", &[before_ms.into()]).await
}
