//! `GET /_matrix/client/v3/sync`: all rooms of a user, and what changed since a token.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

mod answer;
pub mod response;
mod sections;
mod wait;
mod wants;

use std::time::Duration;

use ruma::api::client::filter::FilterDefinition;
use stoa_base::Pos;
use stoa_rooms::tokens::SyncToken;
use stoa_storage::log;

pub use self::{
    response::Response,
    wait::MAX_TIMEOUT,
    wants::{passes_room, timeline_limit},
};
use crate::{Reader, Result, Sources};

/// A request to `/sync`.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The client's token.
    pub since: Option<SyncToken>,
    /// What the client wants to be told about.
    pub filter: &'a FilterDefinition,
    /// Whether the client wants the whole state of all rooms.
    pub full_state: bool,
    /// Whether the client wants the state at the end of the timelines rather than at their start.
    pub use_state_after: bool,
    /// How long to wait if there is nothing new.
    pub timeout: Duration,
}

impl Request<'_> {
    fn is_patient(&self) -> bool {
        self.since.is_some() && !self.full_state && !self.timeout.is_zero()
    }

    /// Whether the answer covers everything rather than only what changed.
    pub const fn is_whole(&self) -> bool {
        self.since.is_none() || self.full_state
    }

    const fn kind(&self) -> &'static str {
        match (self.since, self.full_state) {
            (None, _) => "initial",
            (Some(_), true) => "full_state",
            (Some(_), false) => "incremental",
        }
    }
}

/// Gives what is new since the token, or waits until something is.
///
/// This node must have applied everything that was acknowledged before the request arrived.
pub async fn sync(sources: &Sources, reader: &Reader, request: Request<'_>) -> Result<Response> {
    let request = checked(sources, request).await?;
    sync_checked(sources, reader, request).await
}

/// Makes a request answerable. A token for a position that the log has lost, for example because
/// the database was restored to an earlier state, is ignored: what the client holds may have been
/// undone, so it is sent everything again.
pub async fn checked<'a>(sources: &Sources, request: Request<'a>) -> Result<Request<'a>> {
    if was_lost(sources, request.since).await? {
        return Ok(Request { since: None, ..request });
    }
    Ok(request)
}

/// Like [`sync`], for a request that has passed through [`checked`]. Fails if the answer would take
/// more memory than the reader is allowed.
pub async fn sync_checked(
    sources: &Sources,
    reader: &Reader,
    request: Request<'_>,
) -> Result<Response> {
    let deadline = tokio::time::Instant::now() + request.timeout.min(MAX_TIMEOUT);
    let mut waiting: Option<wait::Waiting> = None;
    loop {
        // What is read below may be newer than this, but never older.
        let seen = Seen::now(sources);
        reader.allowance.reset();
        let memberships = sources.rooms.memberships.of(&reader.user_id).await?;
        let began = tokio::time::Instant::now();
        let answer = answer::answer(sources, reader, request, &memberships, seen.head).await?;
        metrics::histogram!("stoa_sync_duration_seconds", "kind" => request.kind())
            .record(began.elapsed());
        if !answer.is_empty() || !request.is_patient() {
            return Ok(answer);
        }
        let registered = waiting.take().filter(|waiting| waiting.covers(&memberships));
        let is_new = registered.is_none();
        let registered =
            registered.unwrap_or_else(|| wait::Waiting::register(sources, reader, memberships));
        // Anything that arrived before the registration woke nobody, so look once more.
        let has_missed = is_new && Seen::now(sources) != seen;
        if !has_missed && !registered.news(sources, deadline).await {
            return Ok(answer);
        }
        waiting = Some(registered);
    }
}

/// The news that this node has applied. It moves forward before waiting requests are woken.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    head: Pos,
    /// The epoch of the typing counter, and the count within it.
    typing: (i64, i64),
}

impl Seen {
    fn now(sources: &Sources) -> Self {
        let Sources { tailer, typing, .. } = sources;
        Self { head: tailer.applied(), typing: (typing.epoch(), typing.version()) }
    }
}

/// Whether the token is for a position that the log has lost.
async fn was_lost(sources: &Sources, since: Option<SyncToken>) -> Result<bool> {
    match since {
        None => Ok(false),
        Some(token) if token.log > sources.tailer.applied() => Ok(true),
        Some(token)
            if sources.changes.reaches_back_to(token.log)
                && !sources.tailer.may_have_jumped_over(token.log) =>
        {
            Ok(false)
        }
        Some(token) => Ok(log::was_lost(&mut sources.store.read().await?, token.log).await?),
    }
}
