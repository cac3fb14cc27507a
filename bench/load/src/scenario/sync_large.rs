//! The first sync of a new device of a user in many rooms with many members.

use std::time::Duration;

use crate::{
    connection::{Connection, Failure},
    drive::{Limit, drive},
    figures::Report,
    scenario::sync::devices,
    setup::{Bench, LargeRooms},
};

/// A filter that loads members lazily.
pub(crate) const LAZY: &str = r#"{"room":{"state":{"lazy_load_members":true}}}"#;

/// How many syncs on new devices are made one by one.
const SYNCS: usize = 5;

async fn large_rooms(bench: &Bench) -> Result<LargeRooms, Failure> {
    if let Some(made) = &*bench.large_rooms.borrow() {
        return Ok(made.clone());
    }
    let members = bench.accounts(bench.scale.large_rooms).await?;
    let rooms = bench.rooms(bench.scale.large_rooms, &members).await?;
    let user = members.into_iter().next().ok_or(Failure::Timeout)?;
    let made = LargeRooms { user, rooms: rooms.len() };
    *bench.large_rooms.borrow_mut() = Some(made.clone());
    Ok(made)
}

/// Syncs so many devices at once.
pub(crate) async fn run(bench: &Bench, at_once: usize, filter: &str) -> Result<Report, Failure> {
    let LargeRooms { user, rooms } = large_rooms(bench).await?;
    let operations = at_once.max(SYNCS);
    let devices = devices(bench, &user, operations).await?;
    let limit = Limit { operations, time: Duration::MAX };

    let mut report = Report::default();
    bench.processes().forget_peak();
    let phase = bench.processes().start_phase();
    let sync = async |connection: &mut Connection, _, number: usize| {
        let (sync, reply) = connection.sync(&devices[number], None, Duration::ZERO, filter).await?;
        if sync.rooms.join.len() >= rooms {
            Ok(((), reply.elapsed))
        } else {
            Err(Failure::Unexpected(format!("{} rooms", sync.rooms.join.len())))
        }
    };
    let driven = drive(&bench.server, at_once, limit, sync).await;
    phase.end(&mut report);
    if let Some(peak) = bench.processes().peak_mib() {
        report.put("peak_mib", peak);
    }
    report.put_recorder(driven.recorder, driven.time);
    Ok(report)
}
