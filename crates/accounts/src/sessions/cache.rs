//! The sessions that this node holds in memory.

use std::{sync::Arc, time::Duration};

use stoa_base::Pos;
use stoa_cluster::{Batch, CacheKeeper, LogCache, Ticket};
use stoa_storage::log::{Stream, Topic};

use super::session::Session;

/// How long a session is cached at most. A session dropped too early is read again. The limit is
/// for a node that stops after changing an account and before announcing that in the log.
const LIFETIME: Duration = Duration::from_mins(10);

/// Sessions by the hash of their access token. The cache follows the log: when any session of a
/// user ends, all sessions of that user are dropped.
#[derive(Debug)]
pub struct SessionCache(LogCache<String, Arc<Session>>);

impl SessionCache {
    /// A cache of sessions that uses at most `max_bytes`.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        let weigh = |token_hash: &String, session: &Arc<Session>| {
            let ids = session.user_id.as_str().len() + session.device_id.as_str().len();
            size_of::<Session>() + 2 * token_hash.len() + ids
        };
        Arc::new(Self(LogCache::with_lifetime(max_bytes, LIFETIME, weigh)))
    }

    pub(super) fn get(&self, token_hash: &str) -> Option<Arc<Session>> {
        self.0.get(token_hash)
    }

    /// To be called before a session is read from the database.
    pub(super) fn ticket(&self) -> Ticket {
        self.0.ticket()
    }

    /// Caches a session that was read after `ticket` was taken, unless the cache has dropped
    /// something since, which may have been this session.
    pub(super) fn insert(&self, ticket: &Ticket, session: &Arc<Session>) {
        self.0.keep(ticket, session.token_hash.clone(), Arc::clone(session));
    }

    fn drop_user(&self, user: &str) {
        let user = user.to_owned();
        self.0.remove_if(move |_, session| session.user_id == user);
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
        self.0.clear();
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
        cache.apply(Batch {
            prev: Pos(0),
            last: Pos(1),
            touched: &touched,
            appends: None,
            rows: None,
        });
    }

    #[test]
    fn only_the_sessions_of_that_user_are_dropped() {
        let cache = SessionCache::new(10_000);
        cache.insert(&cache.ticket(), &session(user_id!("@a:x"), "a"));
        cache.insert(&cache.ticket(), &session(user_id!("@b:x"), "b"));
        end_sessions(&cache, user_id!("@a:x"));
        assert!(cache.get("a").is_none());
        assert!(cache.get("b").is_some());
        cache.clear(Pos(2));
        assert!(cache.get("b").is_none());
    }

    #[test]
    fn a_session_read_before_a_drop_is_not_cached_after_it() {
        let cache = SessionCache::new(10_000);
        let a = session(user_id!("@a:x"), "a");
        let ticket = cache.ticket();
        end_sessions(&cache, user_id!("@a:x"));
        cache.insert(&ticket, &a);
        assert!(cache.get("a").is_none());

        let ticket = cache.ticket();
        cache.clear(Pos(2));
        cache.insert(&ticket, &a);
        assert!(cache.get("a").is_none());

        cache.insert(&cache.ticket(), &a);
        assert!(cache.get("a").is_some());
    }

    #[test]
    fn the_cache_stays_within_its_bytes() {
        let cache = SessionCache::new(100_000);
        for n in 0..10_000 {
            cache.insert(&cache.ticket(), &session(user_id!("@a:x"), &format!("{n:060}")));
        }
        assert!(cache.0.bytes() <= 100_000);
        assert!(cache.0.len() > 10);
    }

    #[test]
    fn a_session_read_after_a_drop_is_cached() {
        let cache = SessionCache::new(10_000);
        for round in 0..100 {
            end_sessions(&cache, user_id!("@a:x"));
            cache.insert(&cache.ticket(), &session(user_id!("@a:x"), "a"));
            assert!(cache.get("a").is_some(), "round {round}");
        }
    }
}
