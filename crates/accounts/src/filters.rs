//! Filters that clients store and name in later requests.
//!
//! A filter never changes, and its ID is a hash of its content: equal filters have the same ID, and
//! a cached filter is never stale.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::{OwnedUserId, UserId, api::client::filter::FilterDefinition};
use serde_json::{Value, value::RawValue};
use sha2::{Digest as _, Sha256};
use stoa_base::{Actor, Clock, Pos};
use stoa_cluster::{Batch, CacheKeeper, LogCache};
use stoa_storage::{
    Store,
    log::AppendError,
    repo::{filters, users},
};

use crate::failure::{Failure, fails_with_failure};

/// The maximum size of a filter, in bytes of JSON.
const MAX_FILTER: usize = 64 * 1_024;

/// A filter.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The filter as the client sent it, including unknown keys.
    pub source: Box<RawValue>,
    /// The parsed filter.
    pub definition: FilterDefinition,
}

/// Why a filter was refused.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It does not have the form that the spec gives filters.
    #[error("invalid filter: {0}")]
    Invalid(String),
    /// It is too large.
    #[error("the filter is too large")]
    TooLarge,
    /// The user has too many filters.
    #[error("there are too many filters")]
    TooMany,
    /// The server failed, not the request.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fails_with_failure!(FilterError);

impl Filter {
    /// Parses a filter, which must be a JSON object with values of the right types.
    pub fn parse(source: &str) -> Result<Self, FilterError> {
        if source.len() > MAX_FILTER {
            return Err(FilterError::TooLarge);
        }
        let invalid = |error: serde_json::Error| FilterError::Invalid(error.to_string());
        let source: Box<RawValue> = serde_json::from_str(source).map_err(invalid)?;
        // Serde would also accept an array for a struct.
        if !source.get().starts_with('{') {
            return Err(FilterError::Invalid("it must be an object".to_owned()));
        }
        let definition = serde_json::from_str(source.get()).map_err(invalid)?;
        Ok(Self { source, definition })
    }

    /// The filter's ID, the same for filters that differ only in whitespace and the order of keys.
    fn id(&self) -> Result<String, FilterError> {
        // The keys of a `Value` are sorted.
        let value: Value = serde_json::from_str(self.source.get())
            .map_err(|error| FilterError::Invalid(error.to_string()))?;
        let hash = Sha256::digest(value.to_string());
        let (id, _) = hash.split_at(18);
        Ok(URL_SAFE_NO_PAD.encode(id))
    }
}

/// Filters by user and ID. Since filters never change, they are dropped only when the log has lost
/// batches, because the filters may have been lost with them.
#[derive(Debug)]
pub struct FilterCache(LogCache<(OwnedUserId, String), Arc<Filter>>);

impl FilterCache {
    /// A cache of filters that uses at most `max_bytes`.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        let weigh = |(user_id, filter_id): &(OwnedUserId, String), filter: &Arc<Filter>| {
            // The text, and about three times as much for the parsed filter.
            let weight = 1_024 + 4 * filter.source.get().len();
            weight + user_id.as_str().len() + filter_id.len()
        };
        Arc::new(Self(LogCache::of_frequent(max_bytes, weigh)))
    }
}

impl CacheKeeper for FilterCache {
    fn apply(&self, _: Batch<'_>) {}

    fn clear(&self, _: Pos) {}

    fn forget(&self, _: Pos) {
        self.0.clear();
    }
}

/// The filters of local users.
#[derive(Debug)]
pub struct Filters {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) cache: Arc<FilterCache>,
    /// The maximum number of filters per user.
    pub(crate) most: i64,
}

impl Filters {
    /// Stores a filter of the actor and returns its ID.
    pub async fn create(&self, actor: &Actor, source: &RawValue) -> Result<String, FilterError> {
        let filter = Filter::parse(source.get())?;
        let filter_id = filter.id()?;
        let user_id = &actor.user_id;
        if self.get(user_id, &filter_id).await?.is_some() {
            return Ok(filter_id);
        }
        let source = filter.source.get();
        let now_ms = self.clock.now_ms();
        let mut conn = self.store.write().await?;
        // The row lock keeps a concurrent deactivation from leaving a filter behind, and a
        // deactivated account gets no new ones.
        if !users::lock(&mut conn, user_id).await? {
            return Err(AppendError::SessionEnded.into());
        }
        if !filters::insert(&mut conn, user_id, &filter_id, source, now_ms, self.most).await? {
            return Err(FilterError::TooMany);
        }
        conn.commit().await?;
        Ok(filter_id)
    }

    /// A filter of a user.
    pub async fn get(
        &self,
        user_id: &UserId,
        filter_id: &str,
    ) -> Result<Option<Arc<Filter>>, Failure> {
        if filter_id.contains('\0') {
            return Ok(None);
        }
        let key = (user_id.to_owned(), filter_id.to_owned());
        if let Some(filter) = self.cache.0.get(&key) {
            return Ok(Some(filter));
        }
        let ticket = self.cache.0.ticket();
        let mut conn = self.store.read().await?;
        let Some(source) = filters::find(&mut conn, user_id, filter_id).await? else {
            return Ok(None);
        };
        let filter = Arc::new(Filter::parse(&source).map_err(stoa_storage::Error::corrupt)?);
        self.cache.0.keep(&ticket, key, Arc::clone(&filter));
        Ok(Some(filter))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<Filter, FilterError> {
        Filter::parse(&value.to_string())
    }

    #[test]
    fn types_and_ids_are_checked() {
        let refused = [
            json!("text"),
            json!([]),
            json!({"presence": "text"}),
            json!({"room": {"timeline": "text"}}),
            json!({"room": {"state": "text"}}),
            json!({"room": {"ephemeral": "text"}}),
            json!({"room": {"account_data": "text"}}),
            json!({"room": {"timeline": {"rooms": "text"}}}),
            json!({"room": {"timeline": {"not_rooms": "text"}}}),
            json!({"room": {"timeline": {"senders": "text"}}}),
            json!({"room": {"timeline": {"not_senders": "text"}}}),
            json!({"room": {"timeline": {"types": "text"}}}),
            json!({"room": {"timeline": {"not_types": "text"}}}),
            json!({"room": {"timeline": {"types": [1]}}}),
            json!({"room": {"timeline": {"rooms": ["not_a_room_id"]}}}),
            json!({"room": {"timeline": {"senders": ["not_a_sender_id"]}}}),
            json!({"room": {"timeline": {"limit": -1}}}),
        ];
        for filter in refused {
            assert!(matches!(parse(&filter), Err(FilterError::Invalid(_))), "{filter}");
        }
        for filter in [
            json!({}),
            json!({"room": {"timeline": {"limit": 10, "types": ["m.room.*"]}}}),
            json!({"room": {"timeline": {"rooms": ["!a:x"], "senders": ["@a:x"]}}}),
            json!({"org.example.unknown": true, "room": {"org.example": []}}),
        ] {
            parse(&filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        }
    }

    #[test]
    fn the_same_filter_has_the_same_id() {
        let id = |source: &str| Filter::parse(source).unwrap().id().unwrap();
        assert_eq!(id(r#"{"a":1,"room":{}}"#), id(r#" { "room" : {}, "a" : 1 }"#));
        assert_ne!(id("{}"), id(r#"{"room":{}}"#));
        assert!(!id("{}").starts_with('{'));
    }

    fn keep(cache: &FilterCache, filter_id: &str, filter: &Arc<Filter>) {
        let key = (ruma::owned_user_id!("@a:x"), filter_id.to_owned());
        cache.0.keep(&cache.0.ticket(), key, Arc::clone(filter));
    }

    #[test]
    fn the_largest_filters_do_not_fill_the_memory() {
        let cache = FilterCache::new(8 << 20);
        let long = json!({"event_fields": ["x".repeat(MAX_FILTER - 100)]});
        let filter = Arc::new(parse(&long).unwrap());
        for n in 0..1_000 {
            keep(&cache, &n.to_string(), &filter);
        }
        assert!(cache.0.bytes() <= 8 << 20);
        assert!(cache.0.len() > 10);
    }

    #[test]
    fn cached_filters_are_dropped_when_the_log_lost_batches() {
        let cache = FilterCache::new(1 << 20);
        let filter = Arc::new(parse(&json!({})).unwrap());
        keep(&cache, "1", &filter);
        let key = (ruma::owned_user_id!("@a:x"), "1".to_owned());
        cache.clear(Pos(1));
        assert!(cache.0.get(&key).is_some());
        let ticket = cache.0.ticket();
        cache.forget(Pos(2));
        assert!(cache.0.get(&key).is_none());
        assert!(!cache.0.keep(&ticket, key, filter));
    }

    #[test]
    fn a_filter_that_is_too_large_is_refused() {
        let long = json!({"event_fields": ["x".repeat(MAX_FILTER)]});
        assert!(matches!(parse(&long), Err(FilterError::TooLarge)));
    }
}
