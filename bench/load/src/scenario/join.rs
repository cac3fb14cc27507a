//! Joins a second: many users join one public room, and then the next one.

use std::time::Duration;

use crate::{
    connection::{Connection, Failure},
    drive::{Limit, drive},
    figures::{Recorder, Report},
    setup::Bench,
};

/// Joins in flight.
const WORKERS: usize = 8;

pub(crate) async fn run(bench: &Bench) -> Result<Report, Failure> {
    let accounts = bench.accounts(bench.scale.members + 1).await?;
    let Some((creator, members)) = accounts.split_first() else { return Ok(Report::default()) };
    let mut connection = bench.server.connection();
    let limit = Limit { operations: members.len(), time: Duration::MAX };

    let mut report = Report::default();
    let (mut all, mut time) = (Recorder::default(), Duration::ZERO);
    let phase = bench.processes().start_phase();
    while time < bench.scale.time {
        let room = connection.create_room(creator).await?;
        let join = async |connection: &mut Connection, _, number: usize| {
            Ok(((), connection.join(&members[number], &room).await?))
        };
        let driven = drive(&bench.server, WORKERS, limit, join).await;
        let joined = connection.count_members(creator, &room).await?;
        report.expect("members of the room", joined, driven.recorder.successes() + 1);
        time += driven.time;
        all.merge(driven.recorder);
    }
    phase.end(&mut report);
    report.put_recorder(all, time);
    Ok(report)
}
