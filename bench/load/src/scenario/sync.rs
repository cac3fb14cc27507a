//! The syncs of a user in many rooms: everything at once on a new device, and with nothing new.

use std::{cell::RefCell, time::Duration};

use crate::{
    api::{Account, Sync},
    connection::{Connection, Failure},
    drive::{Limit, drive},
    figures::Report,
    setup::{Bench, ManyRooms},
};

/// Other members of each room.
const OTHERS: usize = 3;

/// Messages in each room.
const MESSAGES: usize = 10;

/// Incremental syncs in flight, each on its own device.
const DEVICES: usize = 4;

async fn many_rooms(bench: &Bench) -> Result<ManyRooms, Failure> {
    if let Some(made) = &*bench.many_rooms.borrow() {
        return Ok(made.clone());
    }
    let user = bench.register(&mut bench.server.connection()).await?;
    let others = bench.accounts(OTHERS).await?;
    let rooms = bench.rooms(bench.scale.rooms, &others).await?;
    let join =
        async |connection: &mut Connection, room: usize| connection.join(&user, &rooms[room]).await;
    bench.prepare("joins", rooms.len(), join).await?;
    // One message in each room after the other, as rooms fill in life.
    let send = async |connection: &mut Connection, number: usize| {
        let room = &rooms[number % rooms.len()];
        connection.send(&others[number % OTHERS], room, &bench.unique_name("message"), None).await
    };
    bench.prepare("messages", rooms.len() * MESSAGES, send).await?;
    let made = ManyRooms { user, rooms };
    *bench.many_rooms.borrow_mut() = Some(made.clone());
    Ok(made)
}

/// New devices of the user. A password is the name of its account.
pub(crate) async fn devices(
    bench: &Bench,
    user: &Account,
    count: usize,
) -> Result<Vec<Account>, Failure> {
    let localpart = user.user_id.trim_start_matches('@').split(':').next().unwrap_or_default();
    let log_in =
        async |connection: &mut Connection, _| connection.login(&user.user_id, localpart).await;
    bench.prepare("devices", count, log_in).await
}

pub(crate) async fn run_initial(bench: &Bench) -> Result<Report, Failure> {
    let ManyRooms { user, rooms } = many_rooms(bench).await?;
    let devices = devices(bench, &user, bench.scale.initial_syncs).await?;
    let limit = Limit { operations: devices.len(), time: Duration::MAX };

    let mut report = Report::default();
    let phase = bench.processes().start_phase();
    let driven = drive(&bench.server, 1, limit, async |connection, _, number| {
        let (sync, reply) = connection.sync(&devices[number], None, Duration::ZERO, "").await?;
        check_initial(&sync, &rooms)?;
        Ok(((), reply.elapsed))
    })
    .await;
    phase.end(&mut report);
    report.put_recorder(driven.recorder, driven.time);
    Ok(report)
}

/// Every room is there, and some of its messages.
fn check_initial(sync: &Sync, rooms: &[String]) -> Result<(), Failure> {
    let joined = &sync.rooms.join;
    let has_messages = |room: &String| {
        let events = joined.get(room).map(|room| &room.timeline.events);
        events.into_iter().flatten().any(|event| event.kind == "m.room.message")
    };
    if joined.len() == rooms.len() && rooms.iter().all(has_messages) {
        Ok(())
    } else {
        Err(Failure::Unexpected(format!("a sync of {} rooms is not complete", joined.len())))
    }
}

pub(crate) async fn run_empty(bench: &Bench) -> Result<Report, Failure> {
    let ManyRooms { user, .. } = many_rooms(bench).await?;
    let devices = devices(bench, &user, DEVICES).await?;
    let first = async |connection: &mut Connection, number: usize| {
        let (sync, _) = connection.sync(&devices[number], None, Duration::ZERO, "").await?;
        Ok(RefCell::new(sync.next_batch))
    };
    let since = bench.prepare("first syncs", DEVICES, first).await?;
    let next = async |connection: &mut Connection, worker: usize, _| {
        let token = since[worker].borrow().clone();
        let (sync, reply) =
            connection.sync(&devices[worker], Some(&token), Duration::ZERO, "").await?;
        since[worker].replace(sync.next_batch);
        if sync.rooms.join.is_empty() {
            Ok(((), reply.elapsed))
        } else {
            Err(Failure::Unexpected("rooms in a sync with nothing new".to_owned()))
        }
    };
    let limit = |time| Limit { operations: usize::MAX, time };
    drive(&bench.server, DEVICES, limit(bench.scale.warm_up), next).await;

    let mut report = Report::default();
    let phase = bench.processes().start_phase();
    let driven = drive(&bench.server, DEVICES, limit(bench.scale.time), next).await;
    phase.end(&mut report);
    report.put_recorder(driven.recorder, driven.time);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_initial_sync_holds_every_room_with_messages() {
        let event = json!({ "event_id": "$1", "type": "m.room.message", "content": {} });
        let sync = |second: serde_json::Value| -> Sync {
            let first = json!({ "timeline": { "events": [event] } });
            let rooms = json!({ "join": { "!a": first, "!b": second } });
            serde_json::from_value(json!({ "next_batch": "s", "rooms": rooms })).unwrap()
        };
        let rooms = ["!a".to_owned(), "!b".to_owned()];
        let full = sync(json!({ "timeline": { "events": [event] } }));
        assert!(check_initial(&full, &rooms).is_ok());
        assert!(check_initial(&full, &rooms[..1]).is_err());
        assert!(check_initial(&sync(json!({})), &rooms).is_err());
    }
}
