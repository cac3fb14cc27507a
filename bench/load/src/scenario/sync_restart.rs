//! The first sync after a restart of the server: nothing is in memory, and little has happened.

use std::time::Duration;

use crate::{
    connection::{Connection, Failure},
    drive::{Limit, drive},
    figures::Report,
    setup::{Bench, QuietRooms},
};

/// How many rooms have something new.
const BUSY: usize = 10;

async fn quiet_rooms(bench: &Bench) -> Result<QuietRooms, Failure> {
    if let Some(made) = &*bench.quiet_rooms.borrow() {
        return Ok(made.clone());
    }
    let user = bench.register(&mut bench.server.connection()).await?;
    let rooms = bench.rooms(bench.scale.quiet_rooms, std::slice::from_ref(&user)).await?;
    let made = QuietRooms { user, rooms };
    *bench.quiet_rooms.borrow_mut() = Some(made.clone());
    Ok(made)
}

pub(crate) async fn run(bench: &Bench) -> Result<Report, Failure> {
    let QuietRooms { user, rooms } = quiet_rooms(bench).await?;
    let mut connection = bench.server.connection();
    let (first, _) = connection.sync(&user, None, Duration::ZERO, "").await?;
    let send = async |connection: &mut Connection, number: usize| {
        connection.send(&user, &rooms[number], &bench.unique_name("message"), None).await
    };
    bench.prepare("messages", BUSY, send).await?;
    bench.restart_server()?;

    let mut report = Report::default();
    let phase = bench.processes().start_phase();
    let limit = Limit { operations: 1, time: Duration::MAX };
    let driven = drive(&bench.server, 1, limit, async |connection, _, _| {
        let since = Some(&*first.next_batch);
        let (sync, reply) = connection.sync(&user, since, Duration::ZERO, "").await?;
        if sync.rooms.join.len() == BUSY {
            Ok(((), reply.elapsed))
        } else {
            Err(Failure::Unexpected(format!("{} rooms", sync.rooms.join.len())))
        }
    })
    .await;
    phase.end(&mut report);
    report.put_recorder(driven.recorder, driven.time);
    Ok(report)
}
