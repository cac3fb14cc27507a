//! Messages a second: each sender sends its next message when the last one is acknowledged.

use std::collections::HashSet;

use crate::{
    connection::{Connection, Failure},
    drive::{Driven, Limit, drive},
    figures::Report,
    setup::Bench,
};

/// Rooms that the senders write to in turn.
const ROOMS: usize = 5;

/// Members of the rooms, where there are fewer senders.
const MEMBERS: usize = 10;

pub(crate) async fn run(bench: &Bench, senders: usize) -> Result<Report, Failure> {
    let members = bench.accounts(senders.max(MEMBERS)).await?;
    let rooms = bench.rooms(ROOMS, &members).await?;
    let send = async |connection: &mut Connection, sender: usize, number: usize| {
        let room = &rooms[number % ROOMS];
        let transaction = bench.unique_name("message");
        let (event_id, elapsed) =
            connection.send(&members[sender], room, &transaction, None).await?;
        Ok(((room, event_id), elapsed))
    };
    let limit = |time| Limit { operations: usize::MAX, time };
    drive(&bench.server, senders, limit(bench.scale.warm_up), send).await;

    let mut report = Report::default();
    let phase = bench.processes().start_phase();
    let Driven { recorder, time, results } =
        drive(&bench.server, senders, limit(bench.scale.time), send).await;
    phase.end(&mut report);
    report.put_recorder(recorder, time);

    // Each acknowledged message has an id of its own, and is in the history of its room.
    let acknowledged: HashSet<_> = results.iter().map(|(room, id)| (&***room, &**id)).collect();
    report.expect("different event ids", acknowledged.len(), results.len());
    let mut connection = bench.server.connection();
    let mut found = 0;
    for room in &rooms {
        let history = connection.history(&members[0], room).await?;
        found += history.iter().filter(|id| acknowledged.contains(&(&**room, &***id))).count();
    }
    report.expect("acknowledged messages in the history", found, acknowledged.len());
    Ok(report)
}
