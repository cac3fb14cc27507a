//! Limits the memory for large answers that are being put together and sent.
//!
//! Before an answer is put together, its weight is estimated, in bytes of memory, and the request
//! waits its turn for a place of that size. The place is held until the answer is sent or given up,
//! so that clients that read slowly count as well. Small answers have their own places and do not
//! wait behind large ones. No user gets more than half of the memory, so that one who asks for a
//! lot and reads slowly or never does not keep everyone else waiting. If too many requests wait, or
//! one waits too long, the answer is 429.
//!
//! While an answer is put together, what it reads is counted ([`Allowance`]). If it turns out to be
//! heavier than its place, it is given up and started again in a larger one. Once the answer is
//! written, its place shrinks to the bytes of the answer.

mod pieces;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use ruma::{OwnedUserId, UserId};
use serde::Serialize;
use stoa_base::{Allowance, Exceeded};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use self::pieces::{Pieces, PiecewiseBody};
use crate::{Error, Result, respond::json_bytes};

/// The memory in bytes that one event takes while an answer with many events is put together: as it
/// is read, as the client gets it, and as a part of the answer.
pub const EVENT: u64 = 4 * 1_024;

/// The unit in which weights are counted.
const UNIT: u64 = 1_024;

/// The weight up to which an answer counts as small, in bytes.
pub const SMALL: u64 = 1 << 20;

/// The minimum of all places together, in bytes. With it, half of the places for small answers is
/// enough for one answer of [`SMALL`].
pub const FEWEST: u64 = 16 * SMALL;

/// The minimum weight that is assumed for an answer, in bytes.
const LIGHTEST: u64 = 64 * 1_024;

/// The factor by which the next place is larger if one was too small.
pub const LARGER: u64 = 4;

/// How much memory an answer in the largest place may take, as a multiple of the place. An answer
/// that takes more would use up the memory of the whole node.
const MOST: u64 = 4;

/// How many answers may wait for a place, and how long one answer waits in total, for all the
/// places that it is tried in. Clients wait more than a minute for a first sync.
const MAX_WAITING: usize = 100;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How many users are remembered who neither hold nor wait for a place.
const MAX_IDLE_SHARES: usize = 1_000;

/// When a refused client should try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The places of this node.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Lanes>);

#[derive(Debug)]
struct Lanes {
    large: Lane,
    small: Lane,
}

#[derive(Debug)]
struct Lane {
    free: Arc<Semaphore>,
    units: u32,
    waiting: AtomicUsize,
    /// The free part of the share of each user who holds or waits for a place.
    shares: Mutex<HashMap<OwnedUserId, Weak<Semaphore>>>,
}

impl Admission {
    /// Places for answers of `bytes` in total, but at least [`FEWEST`]. A quarter of them is for
    /// small answers.
    pub fn new(bytes: u64) -> Self {
        let bytes = bytes.max(FEWEST);
        let quarter = bytes / 4;
        Self(Arc::new(Lanes { large: Lane::new(bytes - quarter), small: Lane::new(quarter) }))
    }

    /// Waits for a place for an answer to `user` of about this weight, in bytes. However heavy the
    /// answer is, its place is at most half of the memory.
    pub async fn admit(&self, user: &UserId, weight: u64) -> Result<Place> {
        self.admit_until(Instant::now() + MAX_WAIT, user, weight).await
    }

    async fn admit_until(&self, deadline: Instant, user: &UserId, weight: u64) -> Result<Place> {
        let lane = if weight > SMALL { &self.0.large } else { &self.0.small };
        let admitted = tokio::time::timeout_at(deadline, lane.admit(user, weight));
        admitted.await.unwrap_or_else(|_| Err(refused()))
    }

    /// Puts together an answer to `user` with an expected weight in bytes, and returns it with its
    /// place. If `assemble` takes more memory than it is allowed, it is called again in a larger
    /// place. An answer that takes more than [`MOST`] times the largest place is a server error,
    /// which is logged.
    pub async fn assemble<T, F>(
        &self,
        user: &UserId,
        weight: u64,
        assemble: impl Fn(Allowance) -> F,
    ) -> Result<(T, Place)>
    where
        F: Future<Output = Result<T>>,
    {
        let weight = weight.max(LIGHTEST);
        // Only the time spent waiting counts.
        let mut left = MAX_WAIT;
        let began = Instant::now();
        let mut place = self.admit_until(began + left, user, weight).await?;
        left = left.saturating_sub(began.elapsed());
        loop {
            let allowance = place.allowance();
            let answer = assemble(allowance.clone()).await;
            if answer.is_ok() || !allowance.is_exceeded() {
                return Ok((answer?, place));
            }
            drop(answer);
            let Some(larger) = self.0.larger(place.bytes()) else {
                let most = MOST * place.bytes();
                return Err(Error::internal(format_args!(
                    "an answer to {user} takes more than {most} bytes, the limit for one answer: \
                     raise limits.large_response_bytes"
                )));
            };
            metrics::counter!("stoa_answers_begun_anew_total").increment(1);
            if !place.grow(larger) {
                // No place is held while waiting for a larger one.
                drop(place);
                let began = Instant::now();
                place = self.admit_until(began + left, user, larger).await?;
                left = left.saturating_sub(began.elapsed());
            }
        }
    }

    /// How many bytes are in use at the moment.
    pub fn taken(&self) -> u64 {
        self.0.large.taken() + self.0.small.taken()
    }
}

impl Lanes {
    /// The size of the next place to try if one of `bytes` was too small; `None` after the largest.
    fn larger(&self, bytes: u64) -> Option<u64> {
        let largest = self.large.largest();
        match bytes.saturating_mul(LARGER) {
            _ if bytes >= largest => None,
            _ if bytes < SMALL => Some(SMALL),
            larger => Some(larger.min(largest)),
        }
    }
}

impl Lane {
    fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let free = Arc::new(Semaphore::new(units as usize));
        Self { free, units, waiting: AtomicUsize::new(0), shares: Mutex::default() }
    }

    async fn admit(&self, user: &UserId, weight: u64) -> Result<Place> {
        let largest = self.largest_share();
        let units = u32::try_from(weight.div_ceil(UNIT)).unwrap_or(u32::MAX).min(largest);
        // The user's own share comes first, so that waiting for it holds up no other user.
        let share = self.share_of(user).acquire_many_owned(units).await;
        // The semaphores are never closed.
        let share = Held { permit: share.map_err(|_| refused())?, largest };
        let free = Arc::clone(&self.free);
        if let Ok(permit) = Arc::clone(&free).try_acquire_many_owned(units) {
            return Ok(Place { share, lane: Held { permit, largest } });
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.is_one_too_many() {
            return Err(refused());
        }
        let permit = free.acquire_many_owned(units).await.map_err(|_| refused())?;
        Ok(Place { share, lane: Held { permit, largest } })
    }

    /// The largest place, in bytes.
    fn largest(&self) -> u64 {
        u64::from(self.largest_share()) * UNIT
    }

    /// How much of the lane one user, and therefore one answer, may have.
    fn largest_share(&self) -> u32 {
        self.units.div_ceil(2)
    }

    fn share_of(&self, user: &UserId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(user).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() > MAX_IDLE_SHARES {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.largest_share() as usize));
        shares.insert(user.to_owned(), Arc::downgrade(&share));
        share
    }

    fn taken(&self) -> u64 {
        let free = u64::try_from(self.free.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.units).saturating_sub(free) * UNIT
    }
}

fn refused() -> Error {
    metrics::counter!("stoa_limited_total", "class" => "large_responses").increment(1);
    Error::limit_exceeded(RETRY_AFTER)
}

/// For answers that are not put together by [`Admission::assemble`], which would start again in a
/// larger place.
impl From<Exceeded> for Error {
    fn from(_: Exceeded) -> Self {
        Self::limit_exceeded(RETRY_AFTER)
    }
}

/// Counts one waiting request until it is dropped.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }

    const fn is_one_too_many(&self) -> bool {
        self.before >= MAX_WAITING
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place for one answer: a part of the lane and of the user's share of that lane.
#[derive(Debug)]
pub struct Place {
    share: Held,
    lane: Held,
}

/// The permits taken from a semaphore, and how many may be taken.
#[derive(Debug)]
struct Held {
    permit: OwnedSemaphorePermit,
    largest: u32,
}

impl Held {
    /// Whether no more can be taken.
    fn is_all(&self) -> bool {
        self.permit.num_permits() >= self.largest as usize
    }

    /// Gives up what exceeds `units`, or takes what is missing if it is free. `None` if it is not.
    fn resize(&mut self, units: u64) -> Option<()> {
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(self.largest) as usize;
        let held = self.permit.num_permits();
        if units <= held {
            drop(self.permit.split(held - units));
            return Some(());
        }
        let more = u32::try_from(units - held).ok()?;
        let semaphore = Arc::clone(self.permit.semaphore());
        self.permit.merge(semaphore.try_acquire_many_owned(more).ok()?);
        Some(())
    }
}

impl Place {
    /// The size of the place, in bytes.
    pub fn bytes(&self) -> u64 {
        self.lane.permit.num_permits() as u64 * UNIT
    }

    /// How much memory an answer may take while it is put together in this place.
    fn allowance(&self) -> Allowance {
        let is_largest = self.is_large() && self.lane.is_all();
        Allowance::new(self.bytes() * if is_largest { MOST } else { 1 })
    }

    /// Whether the place is one for large answers.
    fn is_large(&self) -> bool {
        self.bytes() > SMALL
    }

    /// Grows to `bytes` if they are free. A small place does not grow into a large one, since the
    /// two come from different lanes.
    fn grow(&mut self, bytes: u64) -> bool {
        let is_of_this_kind = self.is_large() == (bytes > SMALL);
        is_of_this_kind && self.resize(bytes).is_some()
    }

    fn resize(&mut self, bytes: u64) -> Option<()> {
        let units = bytes.div_ceil(UNIT);
        self.share.resize(units).and_then(|()| self.lane.resize(units))
    }

    /// The response, which holds the place until it is sent. The part of the place that it does not
    /// need is given up at once.
    pub fn json<T: Serialize>(mut self, value: T) -> Response {
        let mut pieces = Pieces::default();
        if let Err(error) = serde_json::to_writer(&mut pieces, &value) {
            return Error::internal(error).into_response();
        }
        drop(value);
        if self.resize(pieces.bytes()).is_none() {
            return refused().into_response();
        }
        json_bytes(Body::new(PiecewiseBody { pieces, place: self }))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody as _;
    use futures_util::FutureExt;
    use http_body_util::BodyExt as _;

    use super::{pieces::PIECE, *};

    const MIB: u64 = 1 << 20;

    /// A user who neither holds nor waits for another place.
    fn somebody() -> OwnedUserId {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        UserId::parse(format!("@u{number}:test")).expect("a user ID")
    }

    async fn admit(admission: &Admission, weight: u64) -> Result<Place> {
        admission.admit(&somebody(), weight).await
    }

    /// Takes all places for large answers.
    async fn take_all(admission: &Admission) -> [Place; 2] {
        let mut all = Vec::new();
        for _ in 0..2 {
            all.push(admit(admission, u64::MAX).await.expect("a place"));
        }
        all.try_into().expect("two")
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_until_there_is_memory() {
        let admission = Admission::new(16 * MIB);
        let first = [
            admit(&admission, 4 * MIB).await.expect("a place"),
            admit(&admission, 4 * MIB).await.expect("a place"),
        ];
        let mut second = Box::pin(admit(&admission, 6 * MIB));
        assert!((&mut second).now_or_never().is_none(), "there are twelve for large ones");
        // Places go in the order of arrival, though this one would fit.
        let mut third = Box::pin(admit(&admission, 2 * MIB));
        assert!((&mut third).now_or_never().is_none());
        // A small answer does not wait.
        let small = admit(&admission, MIB).now_or_never().expect("no waiting").expect("a place");
        drop((first, small));
        let _second = second.now_or_never().expect("room").expect("a place");
        let _third = third.now_or_never().expect("room").expect("a place");
        assert_eq!(admission.taken(), 8 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_heavier_answer_is_started_again_in_a_larger_place() {
        let admission = Admission::new(128 * MIB);
        // The places that an answer of `needed` bytes is tried in if `weight` was expected.
        let places = async |weight: u64, needed: u64| {
            let tried = Mutex::new(Vec::new());
            let assemble = |allowance: Allowance| {
                tried.lock().expect("no panic").push(admission.taken());
                async move {
                    for _ in 0..needed / 1_024 {
                        allowance.take(1_024)?;
                    }
                    Ok(needed)
                }
            };
            let answer = admission.assemble(&somebody(), weight, assemble).await;
            assert_eq!(answer.expect("a place").0, needed);
            assert_eq!(admission.taken(), 0);
            tried.into_inner().expect("no panic")
        };
        assert_eq!(places(0, 64 * 1_024).await, [64 * 1_024]);
        assert_eq!(places(0, 65 * 1_024).await, [64 * 1_024, MIB]);
        assert_eq!(places(3 * MIB, 4 * MIB).await, [3 * MIB, 12 * MIB]);
        let all = [64 * 1_024, MIB, 4 * MIB, 16 * MIB, 48 * MIB];
        assert_eq!(places(0, 4 * 48 * MIB).await, all);
        // Any other error is returned as it is.
        let refuse = |_| async { Err::<(), _>(Error::not_found("none")) };
        let refused = admission.assemble(&somebody(), MIB, refuse).await.expect_err("an error");
        assert!(refused.to_string().contains("404"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_answer_is_an_error() {
        let admission = Admission::new(16 * MIB);
        let endless = |allowance: Allowance| async move {
            loop {
                allowance.take(MIB)?;
            }
        };
        let user = somebody();
        let error = admission.assemble::<(), _>(&user, MIB, endless).await.expect_err("an error");
        assert!(error.to_string().contains("500"), "{error}");
        assert_eq!(admission.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_needs_a_little_more_does_not_wait_for_all_others() {
        let admission = Admission::new(128 * MIB);
        let _others = admit(&admission, 40 * MIB).await.expect("a place");
        let assemble = |allowance: Allowance| async move { Ok(allowance.take(25 * MIB)?) };
        let answer = admission.assemble(&somebody(), 24 * MIB, assemble).now_or_never();
        answer.expect("no waiting").expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn the_waiting_time_is_limited_across_all_places_of_an_answer() {
        let admission = Admission::new(128 * MIB);
        let all = take_all(&admission).await;
        let began = Instant::now();
        let next = {
            let admission = admission.clone();
            async move {
                tokio::time::sleep(MAX_WAIT / 2).await;
                drop(all);
                tokio::time::sleep(Duration::from_millis(1)).await;
                // Everything except the place that the other one holds now.
                let _others = [
                    admit(&admission, 48 * MIB).await.expect("a place"),
                    admit(&admission, 40 * MIB).await.expect("a place"),
                ];
                tokio::time::sleep(2 * MAX_WAIT).await;
            }
        };
        let assemble = |allowance: Allowance| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(allowance.take(40 * MIB)?)
        };
        let user = somebody();
        let waiting = tokio::spawn(next);
        let refused = admission.assemble(&user, 4 * MIB, assemble).await.expect_err("no place");
        assert!(refused.to_string().contains("429"), "{refused}");
        let waited = began.elapsed();
        assert!(waited < MAX_WAIT + Duration::from_secs(1), "{waited:?}");
        waiting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_keeps_all_others_waiting() {
        let admission = Admission::new(16 * MIB);
        let heaviest = admit(&admission, 1 << 50).await.expect("a place");
        assert_eq!(admission.taken(), 6 * MIB);
        let other = admit(&admission, 1 << 50).now_or_never().expect("no waiting");
        let refused = admit(&admission, 2 * MIB).await.expect_err("the wait is limited");
        assert!(refused.to_string().contains("429"), "{refused}");
        drop((heaviest, other));
        admit(&admission, 2 * MIB).await.expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiting_requests_is_limited() {
        let admission = Admission::new(16 * MIB);
        let all = take_all(&admission).await;
        let mut waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let admission = admission.clone();
                Box::pin(async move { admit(&admission, 2 * MIB).await })
            })
            .collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        admit(&admission, 2 * MIB).now_or_never().expect("no waiting").expect_err("too many");
        // Requests that give up make room for others.
        waiting.pop();
        let mut next = Box::pin(admit(&admission, 2 * MIB));
        assert!((&mut next).now_or_never().is_none());
        drop(all);
        waiting.swap_remove(0).now_or_never().expect("room").expect("a place");
    }

    #[tokio::test]
    async fn a_place_is_held_until_the_answer_is_sent() {
        let admission = Admission::new(16 * MIB);
        let place = admit(&admission, 8 * MIB).await.expect("a place");
        let value = vec!["x".repeat(1_000); 3_000];
        let response = place.json(&value);
        assert_eq!(response.headers()["content-type"], "application/json");
        // The place has shrunk to the size of the answer.
        assert_eq!(admission.taken().div_ceil(MIB), 3);
        let mut body = response.into_body();
        let size = body.size_hint().exact().expect("a length");
        assert_eq!(size, serde_json::to_vec(&value).expect("JSON").len() as u64);
        let piece = body.frame().await.expect("a piece").expect("a piece").into_data();
        assert_eq!(piece.expect("data").len(), PIECE);
        let left = size - PIECE as u64;
        assert_eq!(admission.taken(), left.div_ceil(UNIT) * UNIT, "what is sent is given up");
        let rest = body.collect().await.expect("the rest").to_bytes();
        assert_eq!(rest.len() as u64 + PIECE as u64, size);
        assert_eq!(admission.taken(), 0);
        // If nobody reads the answer, its place is freed with the connection.
        let place = admit(&admission, 8 * MIB).await.expect("a place");
        drop(place.json(&value));
        assert_eq!(admission.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_leaves_places_to_others() {
        let admission = Admission::new(16 * MIB);
        let (alice, bob) = (somebody(), somebody());
        let held = [
            admission.admit(&alice, 3 * MIB).await.expect("a place"),
            admission.admit(&alice, 3 * MIB).await.expect("a place"),
        ];
        let mut more: Vec<_> =
            (0..2 * MAX_WAITING).map(|_| Box::pin(admission.admit(&alice, 2 * MIB))).collect();
        for more in &mut more {
            assert!(more.now_or_never().is_none(), "half of them are hers");
        }
        let place = admission.admit(&bob, 5 * MIB).now_or_never().expect("no waiting");
        drop(place.expect("a place"));
        drop(held);
        let admitted: Vec<_> = more.iter_mut().filter_map(FutureExt::now_or_never).collect();
        assert_eq!(admitted.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_heavier_than_expected_takes_what_it_needs() {
        let admission = Admission::new(16 * MIB);
        let value = vec!["x".repeat(1_000); 5_000];
        let response = admit(&admission, 2 * MIB).await.expect("a place").json(&value);
        assert_eq!(admission.taken().div_ceil(MIB), 5);
        // If that much is not free, the answer is refused.
        let place = admit(&admission, 2 * MIB).await.expect("a place");
        let _other = admit(&admission, 4 * MIB).await.expect("a place");
        assert_eq!(place.json(&value).status(), 429);
        drop(response);
        assert_eq!(admission.taken(), 4 * MIB);
    }
}
