//! The appends that are about to be written together, and which of them must go.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::Deserialize;
use stoa_base::{Nid, RoomNid};
use tokio::sync::oneshot;

use super::{Append, AppendError, Appended, Chain, Guard, batch::Batch};
use crate::{Error, Result};

/// What the caller of an append hears.
pub(super) type Answer = Result<Appended, AppendError>;

/// An append with the way back to its caller.
pub(super) struct Member {
    pub(super) append: Append,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// Something that stands in a batch's way.
#[derive(Debug, Deserialize)]
pub(super) struct Conflict {
    /// The member concerned, by its place in the batch.
    member: Option<usize>,
    /// The member concerned, by a room or event that it holds.
    nid: Option<Nid>,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// The room has moved, or is there already.
    Room,
    /// The event is there already.
    Event,
    /// The session has ended.
    Session,
    /// The account is not what it was.
    Account,
    /// Something else has the internal number.
    Nid,
}

impl Conflict {
    /// Reads the conflict of the member at place `member`.
    pub(super) fn of_member(member: i64, reason: &str) -> Result<Self> {
        let member = usize::try_from(member).map_err(Error::corrupt)?;
        Ok(Self { member: Some(member), nid: None, reason: Reason::read(reason)? })
    }

    /// Reads the conflict of the member that holds the room or event `nid`.
    pub(super) fn of_nid(nid: Nid, reason: &str) -> Result<Self> {
        Ok(Self { member: None, nid: Some(nid), reason: Reason::read(reason)? })
    }

    fn concerns(&self, place: usize, append: &Append) -> bool {
        let holds = |nid: Nid| {
            append.events.iter().any(|row| row.nid.0 == nid)
                || append.rooms.iter().any(|row| row.nid.0 == nid)
        };
        self.member == Some(place) || self.nid.is_some_and(holds)
    }
}

impl Reason {
    fn read(reason: &str) -> Result<Self> {
        let reason: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            serde::de::IntoDeserializer::into_deserializer(reason);
        Self::deserialize(reason).map_err(Error::corrupt)
    }

    fn to_error(self) -> AppendError {
        match self {
            Self::Room | Self::Nid => AppendError::Conflict,
            Self::Event => AppendError::Duplicate,
            Self::Session => AppendError::SessionEnded,
            Self::Account => AppendError::AccountChanged,
        }
    }
}

/// The members of a batch, and those that had to go.
///
/// Who had to go hears of it when the others are written: whoever then looks for what was in the
/// way finds it.
#[derive(Default)]
pub(super) struct Group {
    members: Vec<Member>,
    refused: Vec<(oneshot::Sender<Answer>, AppendError)>,
}

impl Group {
    /// A group of those members that do not stand in the way of one another, and that were not
    /// built on something that failed.
    pub(super) fn new(members: Vec<Member>) -> Self {
        let mut group = Self { members, refused: Vec::new() };
        group.refuse_broken();
        let verdicts = overtaken(&group.members);
        group.refuse_by(verdicts);
        group
    }

    /// Refuses the members that were built on something that has failed meanwhile.
    fn refuse_broken(&mut self) {
        self.refuse_where(Chain::is_broken);
    }

    /// Refuses the members that rest on what the log has lost.
    pub(super) fn refuse_lost(&mut self) {
        self.refuse_where(Chain::is_lost);
    }

    /// Refuses the members that are part of such a chain.
    fn refuse_where(&mut self, is_so: fn(&Chain) -> bool) {
        let verdict = |member: &Member| {
            member.append.chains().any(|chain| is_so(chain)).then_some(AppendError::Conflict)
        };
        let verdicts = self.members.iter().map(verdict).collect();
        self.refuse_by(verdicts);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn batch(&self) -> serde_json::Result<Batch> {
        Batch::join(&self.appends())
    }

    pub(super) fn appends(&self) -> Vec<&Append> {
        self.members.iter().map(|member| &member.append).collect()
    }

    /// Refuses the members concerned, and says whether there were any.
    pub(super) fn refuse_conflicting(&mut self, conflicts: &[Conflict]) -> bool {
        let before = self.members.len();
        let verdicts = self.members.iter().enumerate().map(|(place, member)| {
            let conflict = conflicts.iter().find(|it| it.concerns(place, &member.append));
            conflict.map(|conflict| conflict.reason.to_error())
        });
        let verdicts = verdicts.collect();
        self.refuse_by(verdicts);
        self.members.len() < before
    }

    /// Notes that the rooms of these members have other extremities than their chains know.
    pub(super) fn lose_heads(&self, moved: &[usize]) {
        for member in moved.iter().filter_map(|place| self.members.get(*place)) {
            member.append.chains().for_each(|chain| chain.note_moved_elsewhere());
        }
    }

    /// Has nothing more be built on what the members were built on.
    pub(super) fn break_chains(&self) {
        self.members.iter().flat_map(|member| member.append.chains()).for_each(|it| it.break_off());
    }

    /// Refuses all that are left.
    pub(super) fn refuse_all(&mut self, error: &AppendError) {
        let verdicts = self.members.iter().map(|_| Some(error.clone())).collect();
        self.refuse_by(verdicts);
    }

    /// Refuses the members with an error as their verdict, and whatever was built on them later.
    fn refuse_by(&mut self, verdicts: Vec<Option<AppendError>>) {
        if verdicts.iter().all(Option::is_none) {
            return;
        }
        let mut broken: HashSet<*const Chain> = HashSet::new();
        let members = std::mem::take(&mut self.members);
        for (member, verdict) in members.into_iter().zip(verdicts) {
            let follows = member.append.chains().any(|chain| broken.contains(&Arc::as_ptr(chain)));
            match verdict.or(follows.then_some(AppendError::Conflict)) {
                None => self.members.push(member),
                Some(error) => {
                    for chain in member.append.chains() {
                        chain.break_off();
                        broken.insert(Arc::as_ptr(chain));
                    }
                    self.refused.push((member.reply, error));
                }
            }
        }
    }

    /// The members that are left, to be written one by one.
    pub(super) fn take_members(&mut self) -> Vec<Member> {
        std::mem::take(&mut self.members)
    }

    /// Tells those who had to go.
    pub(super) fn answer_refused(&mut self) {
        for (reply, error) in self.refused.drain(..) {
            // A caller that hung up does not hear of it.
            let _ = reply.send(Err(error));
        }
    }
}

/// Who has moved a room in this batch so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mover {
    Chain(*const Chain),
    Several,
}

#[derive(Default)]
struct Moved {
    state: Option<Mover>,
    head: Option<Mover>,
}

/// Which members an earlier one stands in the way of: the database looks at a batch as a whole, and
/// cannot see what its members do to one another.
fn overtaken(members: &[Member]) -> Vec<Option<AppendError>> {
    let mut moved: HashMap<RoomNid, Moved> = HashMap::new();
    let mut rooms = HashSet::new();
    let mut events = HashSet::new();
    let mut transactions = HashSet::new();
    let mut verdicts = Vec::with_capacity(members.len());
    for Member { append, .. } in members {
        let is_overtaken = append.guards.iter().any(|guard| {
            let Some(chain) = guard.chain() else { return false };
            let Some(moved) = moved.get(&chain.room()) else { return false };
            let by_another = |mover: Option<Mover>| {
                mover.is_some_and(|mover| mover != Mover::Chain(Arc::as_ptr(chain)))
            };
            if by_another(moved.head) && !matches!(guard, Guard::Head(_)) {
                chain.note_moved_elsewhere();
                return by_another(moved.state);
            }
            by_another(moved.state) || by_another(moved.head)
        });
        let is_room_taken = append.rooms.iter().any(|row| rooms.contains(row.room_id.as_str()));
        let is_event_taken = append.events.iter().any(|row| {
            events.contains(row.event_id.as_str())
                || row.txn_id.is_some() && transactions.contains(&(&row.txn_device, &row.txn_id))
        });
        let verdict = if is_event_taken {
            Some(AppendError::Duplicate)
        } else {
            (is_overtaken || is_room_taken).then_some(AppendError::Conflict)
        };
        if verdict.is_none() {
            rooms.extend(append.rooms.iter().map(|row| row.room_id.as_str()));
            for row in &append.events {
                events.insert(row.event_id.as_str());
                if row.txn_id.is_some() {
                    transactions.insert((&row.txn_device, &row.txn_id));
                }
            }
            for update in &append.room_updates {
                let chain = append.chains().find(|chain| chain.room() == update.room_nid);
                let mover = chain.map_or(Mover::Several, |chain| Mover::Chain(Arc::as_ptr(chain)));
                let moved = moved.entry(update.room_nid).or_default();
                if update.state_pos.is_some() {
                    note_mover(&mut moved.state, mover);
                }
                if update.head_pos.is_some() {
                    note_mover(&mut moved.head, mover);
                }
            }
        }
        verdicts.push(verdict);
    }
    verdicts
}

fn note_mover(movers: &mut Option<Mover>, mover: Mover) {
    *movers =
        Some(if movers.is_none_or(|earlier| earlier == mover) { mover } else { Mover::Several });
}
