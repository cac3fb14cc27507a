//! Paging back through a room: one reader, 50 events a page.

use std::{collections::HashSet, time::Duration};

use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    api::{Event, encode},
    connection::{Connection, Failure},
    figures::{Recorder, Report},
    setup::Bench,
};

/// Events a page.
const PAGE: usize = 50;

/// How often the whole room is paged through at least.
const PASSES: usize = 5;

#[derive(Deserialize)]
struct Page {
    chunk: Vec<Event>,
    end: Option<String>,
}

pub(crate) async fn run(bench: &Bench) -> Result<Report, Failure> {
    let reader = bench.register(&mut bench.server.connection()).await?;
    let room = bench.server.connection().create_room(&reader).await?;
    let send = async |connection: &mut Connection, _| {
        connection.send(&reader, &room, &bench.unique_name("message"), None).await
    };
    let sent = bench.prepare("messages", bench.scale.history, send).await?;
    let sent: HashSet<String> = sent.into_iter().map(|(event_id, _)| event_id).collect();

    let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit={PAGE}", encode(&room));
    let (mut report, mut recorder) = (Report::default(), Recorder::default());
    let mut connection = bench.server.connection();
    let phase = bench.processes().start_phase();
    let started = Instant::now();
    let mut passes = 0;
    while passes < PASSES || started.elapsed() < bench.scale.time {
        let (mut found, mut from) = (HashSet::new(), String::new());
        loop {
            let reply = connection.get(&format!("{path}{from}"), &reader.access_token).await?;
            recorder.success(reply.elapsed);
            let page: Page = reply.parse()?;
            let events = page.chunk.into_iter().filter(|event| event.kind == "m.room.message");
            found.extend(events.map(|event| event.id));
            match page.end {
                Some(end) => from = format!("&from={}", encode(&end)),
                None => break,
            }
        }
        report.expect("messages of the room", found.intersection(&sent).count(), sent.len());
        passes += 1;
    }
    let time: Duration = started.elapsed();
    phase.end(&mut report);
    report.put_recorder(recorder, time);
    Ok(report)
}
