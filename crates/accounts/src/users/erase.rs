//! What is deleted when an account is closed, in small steps that may be repeated. A job takes
//! them, under its lease.

use ruma::UserId;
use stoa_storage::{
    log::{Append, Stream},
    repo::{erasure, leases::Fence},
};

use super::Users;
use crate::failure::Failure;

/// How many rows one transaction deletes. Account data may be large, and the more pages of the
/// database a transaction touches, the longer it holds up the log.
const ROWS: i64 = 20;

impl Users {
    /// Deletes the user's open sessions of interactive authentication.
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

    /// Marks the user as erased, so that every node shows their events redacted to whoever was not
    /// in the room when they were sent. Deletes the password of a closed account.
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

    /// Deletes some of the user's profile, account data and filters. Says whether there may be
    /// more.
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
