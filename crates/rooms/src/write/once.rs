//! Requests that a device may repeat: the event of a transaction is sent only once.

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

/// Sends the event of each transaction only once.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    pub(crate) store: Store,
    pub(crate) writer: Writer,
    pub(crate) transactions: Arc<Transactions>,
}

impl Once {
    /// Sends the event of a transaction only once, however often the request is repeated, at the
    /// same time or later, on this node or another.
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
            // The request may have succeeded earlier and be refused only now, because the sender
            // has been banned or the room has changed since.
            if let Some(event_id) = self.sent_before(transaction).await? {
                self.confirm(session).await?;
                return Ok(event_id);
            }
            if !matches!(error, RoomError::Append(AppendError::Duplicate)) {
                return Err(error);
            }
            // The request that was in the way has failed, so try this one again.
        }
        Err(AppendError::Duplicate.into())
    }

    /// The event that was sent in a transaction, according to the database.
    async fn sent_before(&self, transaction: &Transaction) -> Result<Option<OwnedEventId>> {
        let Transaction { device, key } = transaction;
        let mut conn = self.store.read().await?;
        let row = repo::events::by_transaction(&mut conn, device.as_str(), key).await?;
        let event_id = row.map(|row| OwnedEventId::try_from(row.event_id)).transpose();
        Ok(event_id.map_err(stoa_storage::Error::corrupt)?)
    }

    /// Makes sure that the session has not ended on another node. This request writes nothing else
    /// that would reveal it.
    async fn confirm(&self, session: Option<&str>) -> Result<()> {
        if let (Some(session), Backend::Postgres) = (session, self.store.backend()) {
            let mut append = Append::new();
            append.guards.push(Guard::Session(session.to_owned()));
            self.writer.append(append).await?;
        }
        Ok(())
    }
}

/// Whether an error means that the request must not or cannot be carried out, rather than that the
/// server cannot do it now or does not know who is asking.
const fn is_refusal(error: &RoomError) -> bool {
    match error {
        RoomError::Append(AppendError::Duplicate | AppendError::Refused(_)) => true,
        RoomError::Append(_) | RoomError::Storage(_) => false,
        _ => true,
    }
}
