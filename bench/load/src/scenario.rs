//! The scenarios.

mod fan_out;
mod idle;
mod join;
mod large_room;
mod messages;
mod send;
mod sync;
mod sync_large;
mod sync_restart;

use std::fmt;

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
