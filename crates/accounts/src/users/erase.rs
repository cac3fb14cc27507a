//! Erasing the data of a deactivated account, in small repeatable steps that a job runs under its
//! lease.

use ruma::UserId;
use stoa_storage::{
    log::{Append, Stream},
    repo::{erasure, leases::Fence},
};

use super::Users;
use crate::failure::Failure;

/// How many rows one transaction deletes. Account data can be large, and the more database pages a
/// transaction touches, the longer it holds up the log.
const ROWS: i64 = 20;

impl Users {
    /// Deletes the user's pending sessions of interactive authentication.
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

    /// Marks the user as erased, so that every node redacts their events for users who were not in
    /// the room when the events were sent. Deletes the password of the deactivated account.
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

    /// Deletes some of the user's profile, account data and filters. Returns whether there may be
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
