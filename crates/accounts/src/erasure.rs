//! What goes with an account that is closed, in small steps, each of which may be repeated. They are
//! made under a lease.

use ruma::UserId;
use stoa_storage::{
    log::{Append, Stream},
    repo::{erasure, leases::Fence},
};

use crate::{Accounts, Failure};

/// How many rows go in one transaction. A piece of account data may be large, and what holds the
/// log up is how many pages it takes.
const ROWS: i64 = 20;

impl Accounts {
    /// Deletes the authentication sessions that the user has begun.
    pub async fn end_interactive_auth(
        &self,
        lease: &Fence,
        user_id: &UserId,
    ) -> Result<(), Failure> {
        let mut conn = self.store.write().await?;
        lease.check(&mut conn).await?;
        erasure::delete_interactive_auth(&mut conn, user_id).await?;
        Ok(conn.commit().await?)
    }

    /// Has the user's events shown redacted, by every node, to whoever was not in the room when they
    /// were sent, and deletes the password where the account is closed.
    pub async fn mark_erased(&self, lease: &Fence, user_id: &UserId) -> Result<(), Failure> {
        let mut conn = self.store.write().await?;
        lease.check(&mut conn).await?;
        erasure::mark(&mut conn, user_id).await?;
        erasure::delete_password(&mut conn, user_id).await?;
        conn.commit().await?;
        let mut append = Append::new();
        append.touched.add(Stream::Erasure, user_id);
        self.writer.append(append).await?;
        Ok(())
    }

    /// Deletes some of the user's profile, account data and filters. Says whether there may be more.
    pub async fn delete_some_data(&self, lease: &Fence, user_id: &UserId) -> Result<bool, Failure> {
        let mut conn = self.store.write().await?;
        lease.check(&mut conn).await?;
        erasure::delete_profile(&mut conn, user_id).await?;
        let mut deleted = erasure::delete_account_data(&mut conn, user_id, ROWS).await?;
        if deleted == 0 {
            deleted = erasure::delete_filters(&mut conn, user_id, ROWS).await?;
        }
        conn.commit().await?;
        Ok(deleted > 0)
    }
}
