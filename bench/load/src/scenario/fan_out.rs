//! How soon a message reaches members who wait for it in `/sync`.
//!
//! At a fixed rate, messages are sent no matter how long the server takes for each. The time of a
//! delivery is counted from the moment at which its message was due, so that a server that falls
//! behind cannot hide it, until the last byte of the member's answer. Flat out, each message is
//! sent when the last one is acknowledged, and the deliveries a second are counted.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use crate::{
    api::{Account, Timeline},
    connection::{Connection, Failure, Server},
    figures::{Latencies, Recorder, Report},
    setup::Bench,
};

/// How long a member's sync waits.
const POLL: Duration = Duration::from_secs(30);

/// How long to wait for deliveries after the last message.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of the sender, so that a slow answer does not delay the next message.
const SENDER_CONNECTIONS: usize = 16;

/// How fast messages are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// This many a second, whatever the server does.
    PerSecond(u32),
    /// Each when the last one is acknowledged, for at most this long.
    FlatOut(Duration),
}

/// One room, and what happens in it.
pub(crate) struct FanOut {
    /// How many members wait, not counting the sender.
    pub(crate) members: usize,
    pub(crate) pace: Pace,
    /// How many messages are sent, or how many at most where they are sent flat out.
    pub(crate) messages: usize,
    /// Whether members wait on another node than the sender's.
    pub(crate) on_other_node: bool,
}

/// The messages of one fan-out, and their deliveries.
struct Messages {
    first: Instant,
    /// Zero where they are sent flat out.
    interval: Duration,
    /// When sending stops.
    until: Option<Instant>,
    count: usize,
    deliveries: Cell<usize>,
    latencies: RefCell<Latencies>,
}

impl Messages {
    fn due(&self, number: usize) -> Instant {
        self.first + self.interval * u32::try_from(number).unwrap_or(u32::MAX)
    }
}

/// The messages that one member received.
struct Member {
    received: Vec<bool>,
    repeated: usize,
    /// Timelines that were cut short.
    limited: usize,
}

impl Member {
    /// Adds the room's messages from a sync that ended at this time.
    fn take(&mut self, timeline: &Timeline, at: Instant, messages: &Messages) {
        self.limited += usize::from(timeline.limited);
        for number in timeline.events.iter().filter_map(|event| event.content.number) {
            match self.received.get_mut(number) {
                Some(received) if *received => self.repeated += 1,
                Some(received) => {
                    *received = true;
                    messages.deliveries.set(messages.deliveries.get() + 1);
                    messages.latencies.borrow_mut().record(at - messages.due(number));
                }
                None => {}
            }
        }
    }
}

pub(crate) async fn run(bench: &Bench, fan_out: FanOut) -> Result<Report, Failure> {
    let FanOut { members, pace, messages: count, on_other_node } = fan_out;
    let waiting_on = if on_other_node { bench.other_node()? } else { &bench.server };
    let accounts = bench.accounts(members + 1).await?;
    let Some((sender, members)) = accounts.split_first() else { return Ok(Report::default()) };
    let room = &bench.server.connection().create_room(sender).await?;
    let join = async |connection: &mut Connection, number: usize| {
        connection.join(&members[number], room).await
    };
    bench.prepare("joins", members.len(), join).await?;
    // Only this room, because members may be in rooms of other scenarios.
    let filter = &json!({
        "room": {
            "rooms": [room],
            "state": { "lazy_load_members": true },
            "timeline": { "limit": 100 },
            "ephemeral": { "not_types": ["*"] },
        },
        "presence": { "not_types": ["*"] },
    })
    .to_string();
    let first = async |connection: &mut Connection, number: usize| {
        let sync = connection.sync(&members[number], None, Duration::ZERO, filter).await?;
        Ok(sync.0.next_batch)
    };
    let since = bench.prepare("first syncs", members.len(), first).await?;

    // Gives every member's sync time to reach the server.
    let first = Instant::now() + Duration::from_secs(2);
    let messages = Messages {
        first,
        interval: match pace {
            Pace::PerSecond(rate) => Duration::from_secs(1) / rate,
            Pace::FlatOut(_) => Duration::ZERO,
        },
        until: match pace {
            Pace::PerSecond(_) => None,
            Pace::FlatOut(time) => Some(first + time),
        },
        count,
        deliveries: Cell::new(0),
        latencies: RefCell::default(),
    };
    let (stop, stopped) = watch::channel(false);
    let waiting = join_all(members.iter().zip(since).map(|(account, since)| {
        follow(waiting_on, account, since, room, filter, &messages, stopped.clone())
    }));
    let sending = async {
        tokio::time::sleep_until(first).await;
        let phase = bench.processes().start_phase();
        let sent = send_all(bench, sender, room, &messages).await;
        let patience = Instant::now() + PATIENCE;
        let expected = sent.successes() * members.len();
        while messages.deliveries.get() < expected && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut report = Report::default();
        if matches!(pace, Pace::FlatOut(_)) {
            report.put_rate(messages.deliveries.get(), first.elapsed());
        }
        phase.end(&mut report);
        // Members see it at the latest after the answer that they are waiting for.
        let _ = stop.send(true);
        (report, sent, expected)
    };
    let (outcomes, (mut report, sent, expected)) = tokio::join!(waiting, sending);

    report.expect("deliveries", messages.deliveries.get(), expected);
    let (mut repeated, mut limited, mut failures) = (0, 0, Recorder::default());
    for (member, syncs) in outcomes {
        repeated += member.repeated;
        limited += member.limited;
        failures.merge(syncs);
    }
    report.expect("repeated deliveries", repeated, 0);
    report.expect("timelines cut short", limited, 0);
    for failures in [sent.failures(), failures.failures()] {
        if !failures.is_empty() {
            report.problems.push(failures);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 deliveries")]
    report.put("operations", messages.deliveries.get() as f64);
    if matches!(pace, Pace::PerSecond(_)) {
        report.put_latencies(messages.latencies.take());
    }
    Ok(report)
}

/// Sends each message when it is due, or as soon as the last one is acknowledged.
async fn send_all(bench: &Bench, sender: &Account, room: &str, messages: &Messages) -> Recorder {
    let lanes = if messages.interval.is_zero() { 1 } else { SENDER_CONNECTIONS };
    let lane = |lane: usize| async move {
        let mut connection = bench.server.connection();
        let mut recorder = Recorder::default();
        for number in (lane..messages.count).step_by(lanes) {
            tokio::time::sleep_until(messages.due(number)).await;
            if messages.until.is_some_and(|until| Instant::now() > until) {
                break;
            }
            let transaction = bench.unique_name("message");
            match connection.send(sender, room, &transaction, Some(number)).await {
                Ok((_, elapsed)) => recorder.success(elapsed),
                Err(failure) => recorder.failure(&failure),
            }
        }
        recorder
    };
    let mut all = Recorder::default();
    for recorder in join_all((0..lanes).map(lane)).await {
        all.merge(recorder);
    }
    all
}

/// Syncs as one member until stopped.
async fn follow(
    server: &Server,
    account: &Account,
    mut since: String,
    room: &str,
    filter: &str,
    messages: &Messages,
    mut stopped: watch::Receiver<bool>,
) -> (Member, Recorder) {
    let mut member = Member { received: vec![false; messages.count], repeated: 0, limited: 0 };
    let mut failures = Recorder::default();
    let mut connection = server.connection();
    loop {
        let sync = connection.sync(account, Some(&since), POLL, filter);
        let outcome = tokio::select! {
            outcome = sync => outcome,
            _ = stopped.wait_for(|stopped| *stopped) => return (member, failures),
        };
        match outcome {
            Ok((sync, reply)) => {
                if let Some(joined) = sync.rooms.join.get(room) {
                    member.take(&joined.timeline, reply.finished, messages);
                }
                since = sync.next_batch;
            }
            Err(failure) => {
                // It asks again with the same token, so that nothing is missed.
                failures.failure(&failure);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Content, Event};

    #[test]
    fn each_delivery_counts_once_and_from_when_it_was_due() {
        let first = Instant::now();
        let messages = Messages {
            first,
            interval: Duration::from_millis(200),
            until: None,
            count: 3,
            deliveries: Cell::new(0),
            latencies: RefCell::default(),
        };
        let timeline = |numbers: &[usize]| Timeline {
            events: numbers
                .iter()
                .map(|number| Event {
                    id: "$id".to_owned(),
                    kind: "m.room.message".to_owned(),
                    content: Content { number: Some(*number) },
                })
                .collect(),
            limited: numbers.len() > 2,
        };
        let mut member = Member { received: vec![false; 3], repeated: 0, limited: 0 };
        let at = first + Duration::from_millis(500);
        member.take(&timeline(&[0, 1, 9]), at, &messages);
        member.take(&timeline(&[1]), at, &messages);
        assert_eq!(member.received, [true, true, false]);
        assert_eq!((member.repeated, member.limited, messages.deliveries.get()), (1, 1, 2));
        let mut report = Report::default();
        report.put_latencies(messages.latencies.take());
        let figures = &report.to_json("fan-out")["figures"];
        assert_eq!((&figures["p50_ms"], &figures["max_ms"]), (&json!(300.0), &json!(500.0)));
    }
}
