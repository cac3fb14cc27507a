//! The sessions that this node has in memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper};
use stoa_storage::log::{Stream, Topic};

use crate::Session;

/// How long a session is kept at most. What is dropped too early is read again; this is for a node
/// that stops between a change of an account and the word of it in the log.
const LIFETIME: Duration = Duration::from_mins(10);

/// Sessions by the hash of their access token. Follows the log: when sessions of a user end, all of
/// that user's are dropped.
#[derive(Debug)]
pub struct SessionCache {
    sessions: moka::sync::Cache<String, Arc<Session>>,
    /// How often something was dropped. Held while entries come and go, so that what was read
    /// before a drop is not put in after it.
    generation: Mutex<u64>,
}

/// Says when the reading of a session began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl SessionCache {
    /// A cache of at most `capacity` sessions.
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            sessions: moka::sync::Cache::builder()
                .max_capacity(capacity)
                .time_to_live(LIFETIME)
                .support_invalidation_closures()
                .build(),
            generation: Mutex::new(0),
        })
    }

    pub(crate) fn get(&self, token_hash: &str) -> Option<Arc<Session>> {
        self.sessions.get(token_hash)
    }

    /// To be called before a session is read from the database.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(*self.generation.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a session that was read after `ticket` was given, unless something was dropped since:
    /// it may have been this one.
    pub(crate) fn insert(&self, ticket: Ticket, session: &Arc<Session>) {
        let generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        if *generation == ticket.0 {
            self.sessions.insert(session.token_hash.clone(), Arc::clone(session));
        }
    }

    fn drop_user(&self, user: &str) {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        let user = user.to_owned();
        let dropped =
            self.sessions.invalidate_entries_if(move |_, session| session.user_id == user);
        if let Err(error) = dropped {
            // The cache was built to support this; should it refuse, dropping all is as right.
            tracing::error!(%error, "sessions of one user could not be dropped");
            self.sessions.invalidate_all();
        }
    }
}

impl CacheKeeper for SessionCache {
    fn apply(&self, batch: Batch<'_>) {
        for (stream, topic) in batch.touched.iter() {
            if let (Stream::Sessions, Topic::User(user)) = (stream, topic) {
                self.drop_user(user);
            }
        }
    }

    fn clear(&self, _head: Pos) {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        self.sessions.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, user_id};
    use stoa_storage::{log::Touched, repo::tokens::TokenRow};

    use super::*;

    fn session(user: &ruma::UserId, token: &str) -> Arc<Session> {
        Arc::new(Session::new(TokenRow {
            token_hash: token.to_owned(),
            session_id: token.to_owned(),
            generation: 0,
            user_id: user.to_owned(),
            device_id: device_id!("D").to_owned(),
            device_generation: 0,
            expires_ms: None,
            session_expires_ms: None,
            parent_hash: None,
            admin: false,
        }))
    }

    fn end_sessions(cache: &SessionCache, user: &ruma::UserId) {
        let mut touched = Touched::default();
        touched.add(Stream::Sessions, user);
        cache.apply(Batch { prev: Pos(0), last: Pos(1), touched: &touched, appends: None });
    }

    #[test]
    fn only_the_user_whose_sessions_ended_is_dropped() {
        let cache = SessionCache::new(10);
        cache.insert(cache.ticket(), &session(user_id!("@a:x"), "a"));
        cache.insert(cache.ticket(), &session(user_id!("@b:x"), "b"));
        end_sessions(&cache, user_id!("@a:x"));
        assert!(cache.get("a").is_none());
        assert!(cache.get("b").is_some());
        cache.clear(Pos(2));
        assert!(cache.get("b").is_none());
    }

    #[test]
    fn what_was_read_before_a_drop_is_not_kept_after_it() {
        let cache = SessionCache::new(10);
        let a = session(user_id!("@a:x"), "a");
        let ticket = cache.ticket();
        end_sessions(&cache, user_id!("@a:x"));
        cache.insert(ticket, &a);
        assert!(cache.get("a").is_none());

        let ticket = cache.ticket();
        cache.clear(Pos(2));
        cache.insert(ticket, &a);
        assert!(cache.get("a").is_none());

        cache.insert(cache.ticket(), &a);
        assert!(cache.get("a").is_some());
    }

    #[test]
    fn a_session_that_came_after_a_drop_stays() {
        let cache = SessionCache::new(10);
        for round in 0..100 {
            end_sessions(&cache, user_id!("@a:x"));
            cache.insert(cache.ticket(), &session(user_id!("@a:x"), "a"));
            assert!(cache.get("a").is_some(), "round {round}");
        }
    }
}
