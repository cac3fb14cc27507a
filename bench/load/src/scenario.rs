//! The scenarios, and how large they are.

mod fan_out;
mod idle;
mod join;
mod send;
pub(crate) mod sync;

use std::{fmt, time::Duration};

use clap::ValueEnum;

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
    /// The server's memory after all other scenarios.
    IdleEnd,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Scenario {
    /// Whether it is measured in this run of so many: memory at rest only before and after all.
    pub(crate) fn is_in_run(self, run: usize, runs: usize) -> bool {
        match self {
            Self::IdleStart => run == 1,
            Self::IdleEnd => run == runs,
            _ => true,
        }
    }

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
                fan_out::run(bench, scale.members / 10, 1, scale.messages_to_100).await
            }
            Self::FanOut1000 => fan_out::run(bench, scale.members, 5, scale.messages_to_1000).await,
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

    #[test]
    fn memory_at_rest_is_measured_before_and_after_all() {
        let runs = |scenario: Scenario| (1..=3).filter(|run| scenario.is_in_run(*run, 3)).collect();
        let expected: [(Scenario, Vec<usize>); 3] = [
            (Scenario::IdleStart, vec![1]),
            (Scenario::IdleEnd, vec![3]),
            (Scenario::Join, vec![1, 2, 3]),
        ];
        for (scenario, expected) in expected {
            assert_eq!(Vec::<usize>::from_iter::<Vec<usize>>(runs(scenario)), expected);
        }
    }
}
