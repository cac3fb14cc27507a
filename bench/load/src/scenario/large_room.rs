//! Reading one very large room as a whole.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use crate::{
    api::encode,
    connection::{Connection, Failure},
    drive::{Limit, drive},
    figures::Report,
    setup::{Bench, LargeRoom},
};

/// How often it is read.
const READS: usize = 5;

/// A room with this many users in its state. Most are banned, because a user needs no account to be
/// banned, and all member events cost the same to read.
async fn large_room(bench: &Bench) -> Result<LargeRoom, Failure> {
    if let Some(made) = &*bench.large_room.borrow() {
        return Ok(made.clone());
    }
    let owner = bench.register(&mut bench.server.connection()).await?;
    let room = bench.server.connection().create_room(&owner).await?;
    let path = &format!("/_matrix/client/v3/rooms/{}/ban", encode(&room));
    let (_, domain) = owner.user_id.split_once(':').unwrap_or_default();
    let ban = async |connection: &mut Connection, number| {
        let body = json!({ "user_id": format!("@banned-{number}:{domain}") }).to_string();
        connection.call(Method::POST, path, Some(&owner.access_token), Some(body)).await
    };
    bench.prepare("member events", bench.scale.large_room, ban).await?;
    let made = LargeRoom { owner, room };
    *bench.large_room.borrow_mut() = Some(made.clone());
    Ok(made)
}

/// Reads `/members` or `/state` again and again.
pub(crate) async fn run(bench: &Bench, what: &str) -> Result<Report, Failure> {
    let LargeRoom { owner, room } = large_room(bench).await?;
    let path = format!("/_matrix/client/v3/rooms/{}/{what}", encode(&room));
    let limit = Limit { operations: READS, time: Duration::MAX };

    let mut report = Report::default();
    bench.processes().forget_peak();
    let phase = bench.processes().start_phase();
    let driven = drive(&bench.server, 1, limit, async |connection, _, _| {
        let reply = connection.get(&path, &owner.access_token).await?;
        let events = reply.body.windows(MEMBER.len()).filter(|text| *text == MEMBER).count();
        if events > bench.scale.large_room {
            Ok(((), reply.elapsed))
        } else {
            Err(Failure::Unexpected(format!("{events} members")))
        }
    })
    .await;
    phase.end(&mut report);
    if let Some(peak) = bench.processes().peak_mib() {
        report.put("peak_mib", peak);
    }
    report.put_recorder(driven.recorder, driven.time);
    Ok(report)
}

/// The content of each member event.
const MEMBER: &[u8] = b"\"m.room.member\"";
