//! The scenarios, and how large they are.

mod fan_out;
mod idle;
mod join;
mod large_room;
mod messages;
mod send;
pub(crate) mod sync;
mod sync_large;
mod sync_restart;

use std::{fmt, time::Duration};

use clap::ValueEnum;

use self::fan_out::{FanOut, Pace};
use crate::{connection::Failure, figures::Report, setup::Bench};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The server's memory before it has done anything.
    IdleStart,
    /// Messages by one sender.
    #[value(name = "send-1")]
    Send1,
    /// Messages by 8 senders at once.
    #[value(name = "send-8")]
    Send8,
    /// Messages by 50 senders at once.
    #[value(name = "send-50")]
    Send50,
    /// Incremental syncs with nothing new.
    SyncEmpty,
    /// The first sync of a new device in 200 rooms.
    SyncInitial,
    /// Users joining one room, 8 at once.
    Join,
    /// A message a second to 100 members who wait in `/sync`.
    #[value(name = "fan-out-100")]
    FanOut100,
    /// 5 messages a second to 1,000 members who wait in `/sync`.
    #[value(name = "fan-out-1000")]
    FanOut1000,
    /// The same, where all of them wait on another node than the sender's.
    #[value(name = "fan-out-1000-other-node")]
    FanOut1000OtherNode,
    /// Messages as fast as one sender can to 100 members who wait in `/sync`.
    #[value(name = "fan-out-100-flat-out")]
    FanOut100FlatOut,
    /// One reader pages back through a room, 50 events a page.
    Messages,
    /// The first sync after a restart of a user in 3,000 rooms.
    SyncRestart,
    /// The first sync of a new device in 300 rooms of 300 members.
    SyncLarge,
    /// The same, with members loaded lazily.
    SyncLargeLazy,
    /// Twenty of the former at once.
    #[value(name = "sync-large-20")]
    SyncLarge20,
    /// The members of a room with 20,000 of them.
    Members,
    /// The state of that room.
    State,
    /// The server's memory after all other scenarios.
    IdleEnd,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Scenario {
    pub(crate) async fn run(self, bench: &Bench) -> Result<Report, Failure> {
        let scale = &bench.scale;
        match self {
            Self::IdleStart | Self::IdleEnd => Ok(idle::run(bench).await),
            Self::Send1 => send::run(bench, 1).await,
            Self::Send8 => send::run(bench, 8).await,
            Self::Send50 => send::run(bench, 50).await,
            Self::SyncEmpty => sync::run_empty(bench).await,
            Self::SyncInitial => sync::run_initial(bench).await,
            Self::Join => join::run(bench).await,
            Self::FanOut100 => {
                let (members, messages) = (scale.members / 10, scale.messages_to_100);
                let pace = Pace::PerSecond(1);
                fan_out::run(bench, FanOut { members, pace, messages, on_other_node: false }).await
            }
            Self::FanOut100FlatOut => {
                let (members, messages) = (scale.members / 10, scale.messages_flat_out);
                let pace = Pace::FlatOut(2 * scale.time);
                fan_out::run(bench, FanOut { members, pace, messages, on_other_node: false }).await
            }
            Self::FanOut1000 | Self::FanOut1000OtherNode => {
                let (members, messages) = (scale.members, scale.messages_to_1000);
                let (pace, on_other_node) = (Pace::PerSecond(5), self == Self::FanOut1000OtherNode);
                fan_out::run(bench, FanOut { members, pace, messages, on_other_node }).await
            }
            Self::Messages => messages::run(bench).await,
            Self::SyncRestart => sync_restart::run(bench).await,
            Self::SyncLarge => sync_large::run(bench, 1, "").await,
            Self::SyncLargeLazy => sync_large::run(bench, 1, sync_large::LAZY).await,
            Self::SyncLarge20 => sync_large::run(bench, 20, "").await,
            Self::Members => large_room::run(bench, "members").await,
            Self::State => large_room::run(bench, "state").await,
        }
    }
}

/// How large and long the scenarios are.
pub(crate) struct Scale {
    /// How long a closed loop runs.
    pub(crate) time: Duration,
    /// How long it runs before that, unmeasured.
    pub(crate) warm_up: Duration,
    /// How long a server is left alone before its memory counts.
    pub(crate) rest: Duration,
    /// Rooms of the user whose syncs are measured.
    pub(crate) rooms: usize,
    /// Initial syncs, each on a new device.
    pub(crate) initial_syncs: usize,
    /// Members that join a room, or wait for its messages.
    pub(crate) members: usize,
    /// Messages in the smaller fan-out.
    pub(crate) messages_to_100: usize,
    /// Messages in the larger one.
    pub(crate) messages_to_1000: usize,
    /// Messages in the one that is flat out, at most.
    pub(crate) messages_flat_out: usize,
    /// Messages of the room that is paged through.
    pub(crate) history: usize,
    /// Rooms of the user who syncs after a restart.
    pub(crate) quiet_rooms: usize,
    /// Rooms of the user with large ones, and members of each.
    pub(crate) large_rooms: usize,
    /// Users who are in the state of the largest room.
    pub(crate) large_room: usize,
}

impl Scale {
    /// What the figures in the documentation are from.
    pub(crate) const FULL: Self = Self {
        time: Duration::from_secs(10),
        warm_up: Duration::from_secs(2),
        rest: Duration::from_secs(10),
        rooms: 200,
        initial_syncs: 10,
        members: 1_000,
        messages_to_100: 30,
        messages_to_1000: 100,
        messages_flat_out: 1_000,
        history: 1_000,
        quiet_rooms: 3_000,
        large_rooms: 300,
        large_room: 20_000,
    };

    /// A minute or so in all, even on a slow server.
    pub(crate) const QUICK: Self = Self {
        time: Duration::from_secs(2),
        warm_up: Duration::from_millis(500),
        rest: Duration::from_secs(1),
        rooms: 10,
        initial_syncs: 3,
        members: 50,
        messages_to_100: 5,
        messages_to_1000: 10,
        messages_flat_out: 50,
        history: 200,
        quiet_rooms: 30,
        large_rooms: 10,
        large_room: 200,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for scenario in Scenario::value_variants() {
            assert_eq!(Scenario::from_str(&scenario.to_string(), false), Ok(*scenario));
        }
    }
}
