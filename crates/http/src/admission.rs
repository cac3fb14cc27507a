//! How many large answers are put together and sent at once: as many as fit into so many bytes.
//!
//! Before an answer is put together, its weight is estimated, in bytes of memory, and a place for it
//! is waited for, in the order of arrival. The place is held until the answer is sent or given up,
//! so that clients that read slowly count as well. Small answers have places of their own and do
//! not wait behind large ones. Nobody has more than half of the places, so that one user who asks
//! for much, and reads slowly or never, does not keep everybody else waiting. Where too many wait,
//! or for too long, the answer is 429.
//!
//! While an answer is put together, what it reads is counted ([`Allowance`]). One that turns out to
//! be heavier than its place is given up, and put together anew in a larger one. Once it is written,
//! it keeps as much of its place as it has bytes.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use ruma::{OwnedUserId, UserId};
use serde::Serialize;
use stoa_base::{Allowance, Exceeded};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{Error, Result, respond::json_bytes};

/// The memory that one event takes while an answer with many of them is put together, in bytes: as
/// it is read, as the client gets it, and as a part of the answer.
pub const EVENT: u64 = 4 * 1_024;

/// The unit in which weights are counted.
const UNIT: u64 = 1_024;

/// The weight up to which an answer is a small one, in bytes.
pub const SMALL: u64 = 1 << 20;

/// The weight that every answer is expected to have at least.
const LIGHTEST: u64 = 64 * 1_024;

/// How many times as large the next place is where one was too small.
pub const LARGER: u64 = 4;

/// How many times the size of all places an answer may take that is alone in them. One that takes
/// more would take the memory of the whole node.
const MOST_OF_ALL: u64 = 2;

/// How many answers may wait for a place, and for how long, each with all the places that it is tried
/// in. Clients wait for a first sync for more than a minute.
const MAX_WAITING: usize = 100;
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How many users are remembered who neither have nor wait for a place.
const MAX_IDLE_SHARES: usize = 1_000;

/// When it is worth trying again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The size of the pieces in which an answer is sent. The connection takes the next one when the
/// last is on its way, so that an answer is given up piece by piece.
const PIECE: usize = 32 * 1_024;

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
    /// What is left of the share of each user who has or waits for a place.
    shares: Mutex<HashMap<OwnedUserId, Weak<Semaphore>>>,
}

impl Admission {
    /// Places for answers of `bytes` in all, a quarter of which is for small ones.
    pub fn new(bytes: u64) -> Self {
        let quarter = bytes / 4;
        Self(Arc::new(Lanes { large: Lane::new(bytes - quarter), small: Lane::new(quarter) }))
    }

    /// Waits for a place for an answer to `user` of about this weight, in bytes. One that is heavier
    /// than all places together gets all of them.
    pub async fn admit(&self, user: &UserId, weight: u64) -> Result<Place> {
        self.admit_until(Instant::now() + MAX_WAIT, user, weight).await
    }

    async fn admit_until(&self, deadline: Instant, user: &UserId, weight: u64) -> Result<Place> {
        let lane = if weight > SMALL { &self.0.large } else { &self.0.small };
        let admitted = tokio::time::timeout_at(deadline, lane.admit(user, weight));
        admitted.await.unwrap_or_else(|_| Err(refused()))
    }

    /// Puts an answer to `user` together, which is expected to have about this weight, in bytes, and
    /// gives it with its place. Where it turns out to be heavier, so that `assemble` takes more than it
    /// is allowed, it is begun anew in a larger place. One that does not even fit where it is alone is
    /// an error of the server, which is logged.
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
        let mut place = self.admit(user, weight).await?;
        // Only the time counts in which it waits.
        let mut left = MAX_WAIT;
        loop {
            let allowance = place.allowance();
            let answer = assemble(allowance.clone()).await;
            if answer.is_ok() || !allowance.is_exceeded() {
                return Ok((answer?, place));
            }
            drop(answer);
            let Some(larger) = self.0.larger(place.bytes()) else {
                let bytes = self.0.large.bytes();
                return Err(Error::internal(format_args!(
                    "an answer to {user} takes more than {MOST_OF_ALL} times the {bytes} bytes that \
                     there are for large ones: raise limits.large_response_bytes"
                )));
            };
            metrics::counter!("stoa_answers_begun_anew_total").increment(1);
            if !place.grow(larger) {
                // Nobody holds a place while they wait for a larger one.
                drop(place);
                let began = Instant::now();
                place = self.admit_until(began + left, user, larger).await?;
                left = left.saturating_sub(began.elapsed());
            }
        }
    }

    /// How many bytes are taken at the moment.
    pub fn taken(&self) -> u64 {
        self.0.large.taken() + self.0.small.taken()
    }
}

impl Lanes {
    /// How large the next place is after one of so many bytes that was too small. The last but one is
    /// half of all, so that what needs little more does not wait until everybody else has gone.
    fn larger(&self, bytes: u64) -> Option<u64> {
        let (half, all) = (u64::from(self.large.largest_share()) * UNIT, self.large.bytes());
        let larger = match bytes.saturating_mul(LARGER) {
            _ if bytes >= all => return None,
            _ if bytes < SMALL => SMALL,
            larger if larger < half => larger,
            _ if bytes < half => half,
            _ => all,
        };
        Some(larger)
    }
}

impl Lane {
    fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let free = Arc::new(Semaphore::new(units as usize));
        Self { free, units, waiting: AtomicUsize::new(0), shares: Mutex::default() }
    }

    async fn admit(&self, user: &UserId, weight: u64) -> Result<Place> {
        let units = u32::try_from(weight.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        // First of all the user's own, so that whoever waits for that stands in nobody's way.
        let (share, largest) = (self.share_of(user), self.largest_share());
        let share = share.acquire_many_owned(units.min(largest)).await;
        // The semaphores are never closed.
        let share = Held { permit: share.map_err(|_| refused())?, largest };
        let free = Arc::clone(&self.free);
        if let Ok(permit) = Arc::clone(&free).try_acquire_many_owned(units) {
            return Ok(Place { share, lane: Held { permit, largest: self.units } });
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.is_one_too_many() {
            return Err(refused());
        }
        let permit = free.acquire_many_owned(units).await.map_err(|_| refused())?;
        Ok(Place { share, lane: Held { permit, largest: self.units } })
    }

    fn bytes(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    /// How much of the lane one user may have.
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

/// For an answer that is not put together by [`Admission::assemble`], which begins anew in a larger
/// place instead.
impl From<Exceeded> for Error {
    fn from(_: Exceeded) -> Self {
        Self::limit_exceeded(RETRY_AFTER)
    }
}

/// One that waits, until it is dropped.
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

/// A place for one answer, of the lane and of the user's share of it.
#[derive(Debug)]
pub struct Place {
    share: Held,
    lane: Held,
}

/// What is taken of a semaphore, and how much may be.
#[derive(Debug)]
struct Held {
    permit: OwnedSemaphorePermit,
    largest: u32,
}

impl Held {
    /// Whether this is all that there is.
    fn is_all(&self) -> bool {
        self.permit.num_permits() >= self.largest as usize
    }

    /// Gives up what is more than `units`, or takes what is less, if it is free.
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
    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.lane.permit.num_permits() as u64 * UNIT
    }

    /// What an answer may take that is put together in this place.
    fn allowance(&self) -> Allowance {
        let is_largest = self.is_large() && self.lane.is_all();
        Allowance::new(self.bytes() * if is_largest { MOST_OF_ALL } else { 1 })
    }

    /// Whether it is one for large answers.
    fn is_large(&self) -> bool {
        self.bytes() > SMALL
    }

    /// Takes as many bytes in all, if they are free. Small answers have places of their own.
    fn grow(&mut self, bytes: u64) -> bool {
        let units = bytes.div_ceil(UNIT);
        let is_of_this_kind = self.is_large() == (bytes > SMALL);
        is_of_this_kind && self.share.resize(units).and_then(|()| self.lane.resize(units)).is_some()
    }

    /// The answer, which holds the place until it is sent. The part of the place that it does not need
    /// is given up at once.
    pub fn json<T: Serialize>(mut self, value: T) -> Response {
        let mut pieces = Pieces::default();
        if let Err(error) = serde_json::to_writer(&mut pieces, &value) {
            return Error::internal(error).into_response();
        }
        drop(value);
        let units = pieces.bytes.div_ceil(UNIT);
        if self.share.resize(units).and_then(|()| self.lane.resize(units)).is_none() {
            return refused().into_response();
        }
        json_bytes(Body::new(Sending { pieces, _place: self }))
    }
}

/// An answer in pieces, so that nothing is copied while it grows, and memory is freed while it is sent.
#[derive(Debug, Default)]
struct Pieces {
    full: VecDeque<Bytes>,
    last: Vec<u8>,
    bytes: u64,
}

impl Pieces {
    fn next(&mut self) -> Option<Bytes> {
        let last = |pieces: &mut Self| {
            let last = std::mem::take(&mut pieces.last);
            (!last.is_empty()).then(|| Bytes::from(last))
        };
        let piece = self.full.pop_front().or_else(|| last(self))?;
        self.bytes -= piece.len() as u64;
        Some(piece)
    }
}

impl io::Write for Pieces {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let written = bytes.len();
        self.bytes += written as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.last.len()));
            if self.last.capacity() == 0 && self.full.back().is_some() {
                self.last.reserve_exact(PIECE);
            }
            self.last.extend_from_slice(now);
            if self.last.len() == PIECE {
                self.full.push_back(std::mem::take(&mut self.last).into());
            }
            bytes = later;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that holds a place.
struct Sending {
    pieces: Pieces,
    _place: Place,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Somebody who has and waits for nothing else.
    fn somebody() -> OwnedUserId {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        UserId::parse(format!("@u{number}:test")).expect("a user ID")
    }

    async fn admit(admission: &Admission, weight: u64) -> Result<Place> {
        admission.admit(&somebody(), weight).await
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_until_there_is_room() {
        let admission = Admission::new(16 * MIB);
        let first = admit(&admission, 8 * MIB).await.expect("a place");
        let mut second = Box::pin(admit(&admission, 8 * MIB));
        assert!((&mut second).now_or_never().is_none(), "there are twelve for large ones");
        // In the order of arrival, though this one would fit.
        let mut third = Box::pin(admit(&admission, 2 * MIB));
        assert!((&mut third).now_or_never().is_none());
        // A small one does not wait.
        let small = admit(&admission, MIB).now_or_never().expect("no waiting").expect("a place");
        drop((first, small));
        let _second = second.now_or_never().expect("room").expect("a place");
        let _third = third.now_or_never().expect("room").expect("a place");
        assert_eq!(admission.taken(), 10 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn what_turns_out_to_be_heavier_is_put_together_anew_in_a_larger_place() {
        let admission = Admission::new(128 * MIB);
        // The places that an answer of `needed` bytes is tried in, which is expected to have `weight`.
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
        let all = [64 * 1_024, MIB, 4 * MIB, 16 * MIB, 48 * MIB, 96 * MIB];
        assert_eq!(places(0, 2 * 96 * MIB).await, all);
        // Another error is an answer.
        let refuse = |_| async { Err::<(), _>(Error::not_found("none")) };
        let refused = admission.assemble(&somebody(), MIB, refuse).await.expect_err("an error");
        assert!(refused.to_string().contains("404"), "{refused}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_end_is_an_error() {
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
    async fn what_needs_little_more_does_not_wait_for_all_others() {
        let admission = Admission::new(128 * MIB);
        let _others = admit(&admission, 40 * MIB).await.expect("a place");
        let assemble = |allowance: Allowance| async move { Ok(allowance.take(25 * MIB)?) };
        let answer = admission.assemble(&somebody(), 24 * MIB, assemble).now_or_never();
        answer.expect("no waiting").expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn all_larger_places_are_waited_for_no_longer_than_one() {
        let admission = Admission::new(128 * MIB);
        let all = admit(&admission, 96 * MIB).await.expect("a place");
        let began = Instant::now();
        let next = {
            let admission = admission.clone();
            async move {
                tokio::time::sleep(MAX_WAIT / 2).await;
                drop(all);
                // In the place that this one gives up.
                let _others = admit(&admission, 90 * MIB).await.expect("a place");
                tokio::time::sleep(2 * MAX_WAIT).await;
            }
        };
        let assemble = |allowance: Allowance| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(allowance.take(5 * MIB)?)
        };
        let user = somebody();
        let small = admission.assemble(&user, MIB, assemble);
        let waiting = tokio::spawn(next);
        let refused = small.await.expect_err("no place");
        assert!(refused.to_string().contains("429"), "{refused}");
        let waited = began.elapsed();
        assert!(waited < MAX_WAIT + Duration::from_secs(1), "{waited:?}");
        waiting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_heaviest_one_is_admitted_alone() {
        let admission = Admission::new(16 * MIB);
        let all = admit(&admission, 1 << 50).await.expect("a place");
        assert_eq!(admission.taken(), 12 * MIB);
        let refused = admit(&admission, 2 * MIB).await.expect_err("nobody waits for ever");
        assert!(refused.to_string().contains("429"), "{refused}");
        drop(all);
        admit(&admission, 2 * MIB).await.expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let admission = Admission::new(16 * MIB);
        let all = admit(&admission, 12 * MIB).await.expect("a place");
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
        // Those who give up make room for others.
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
        // What is left is what the answer itself takes.
        assert_eq!(admission.taken().div_ceil(MIB), 3);
        let mut body = response.into_body();
        let size = body.size_hint().exact().expect("a length");
        assert_eq!(size, serde_json::to_vec(&value).expect("JSON").len() as u64);
        let piece = body.frame().await.expect("a piece").expect("a piece").into_data();
        assert_eq!(piece.expect("data").len(), PIECE);
        assert!(admission.taken() > 0);
        let rest = body.collect().await.expect("the rest").to_bytes();
        assert_eq!(rest.len() as u64 + PIECE as u64, size);
        assert_eq!(admission.taken(), 0);
        // One that nobody reads is given up when its connection is.
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
        // Where there is not so much, it is not kept.
        let place = admit(&admission, 2 * MIB).await.expect("a place");
        let _other = admit(&admission, 4 * MIB).await.expect("a place");
        assert_eq!(place.json(&value).status(), 429);
        drop(response);
        assert_eq!(admission.taken(), 4 * MIB);
    }
}
