//! Requests that a device may repeat: what belongs to a transaction is sent once.

use std::sync::Arc;

use ruma::OwnedEventId;
use stoa_storage::{
    Backend, Store,
    log::{Append, AppendError, Guard, Writer},
    repo,
};

use crate::{
    cache::transactions::{Transaction, Transactions},
    error::{Result, RoomError},
    write::change::ATTEMPTS,
};

/// Sends once what a device may ask for repeatedly.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) transactions: Arc<Transactions>,
}

impl Once {
    /// Sends what belongs to a transaction: once, however often the request is repeated, at once or
    /// later, here or on another node.
    pub(crate) async fn send<Fut>(
        &self,
        session: Option<&str>,
        transaction: Option<&Transaction>,
        send: impl Fn() -> Fut,
    ) -> Result<OwnedEventId>
    where
        Fut: Future<Output = Result<OwnedEventId>>,
    {
        let Some(transaction) = transaction else { return send().await };
        let _turn = self.transactions.turn(transaction).await;
        if let Some(event_id) = self.transactions.get(transaction) {
            self.confirm(session).await?;
            return Ok(event_id);
        }
        for _ in 0..ATTEMPTS {
            let error = match send().await {
                Ok(event_id) => return Ok(event_id),
                Err(error) => error,
            };
            if !is_refusal(&error) {
                return Err(error);
            }
            // The request may have succeeded before, and be refused only now: the sender may have
            // been banned since, or the room may have changed.
            if let Some(event_id) = self.sent_before(transaction).await? {
                self.confirm(session).await?;
                return Ok(event_id);
            }
            if !matches!(error, RoomError::Append(AppendError::Duplicate)) {
                return Err(error);
            }
            // The request that was in the way has failed, so this one is tried again.
        }
        Err(AppendError::Duplicate.into())
    }

    /// What was sent in a transaction, as the database has it.
    async fn sent_before(&self, transaction: &Transaction) -> Result<Option<OwnedEventId>> {
        let Transaction { device, key } = transaction;
        let mut conn = self.store.read().await?;
        let row = repo::events::by_transaction(&mut conn, device.as_str(), key).await?;
        let event_id = row.map(|row| OwnedEventId::try_from(row.event_id)).transpose();
        Ok(event_id.map_err(stoa_storage::Error::corrupt)?)
    }

    /// Makes sure that the session has not ended on another node, where nothing is written that
    /// would show it.
    async fn confirm(&self, session: Option<&str>) -> Result<()> {
        if let (Some(session), Backend::Postgres) = (session, self.store.backend()) {
            let mut append = Append::new();
            append.guards.push(Guard::Session(session.to_owned()));
            self.writer.append(append).await?;
        }
        Ok(())
    }
}

/// Whether an error says that what was asked for must not or cannot be done, rather than that the
/// server cannot do it now, or that it does not know who asks.
const fn is_refusal(error: &RoomError) -> bool {
    match error {
        RoomError::Append(AppendError::Duplicate | AppendError::Refused(_)) => true,
        RoomError::Append(_) | RoomError::Storage(_) => false,
        _ => true,
    }
}
