//! The outcome of an append stays unknown for longer than anybody waits, and then it appears in the
//! log.

use std::{sync::Arc, time::Duration};

use ruma::TransactionId;
use stoa_base::DeviceKey;
use stoa_rooms::{RoomError, Transaction};
use stoa_storage::{
    Options, Store,
    log::{AppendError, WriterOptions},
};
use stoa_testing::{Backend, PostgresProxy, TestNodeOptions, TestRooms, run_on};

use crate::support::{ALICE, World, user};

#[test]
fn an_event_that_appears_after_an_unknown_outcome_is_like_any_other() {
    run_on(Backend::Postgres, async |db| {
        db.store().await.close().await;
        let proxy = Arc::new(PostgresProxy::start(db.url()).await);
        let url = proxy.url().to_owned();
        let options = Options { url, direct_url: None, max_connections: 4 };
        let store = Store::open(&options).await.unwrap();
        let unknown_outcome = Duration::from_millis(300);
        let options = TestNodeOptions {
            writer: WriterOptions { unknown_outcome, ..WriterOptions::default() },
            ..TestNodeOptions::default()
        };
        let rooms = TestRooms::start_on(store, Default::default(), options).await;
        let world = World { node: rooms.node, rooms: rooms.rooms };
        let room = world.create(ALICE, |_| {}).await;
        world.send(&room, ALICE, "before").await;

        let call = proxy.catch();
        let transaction = {
            let device = DeviceKey::new(&user(ALICE), "DEVICE".into(), 0);
            let id = <&TransactionId>::from("1");
            Transaction::new(device, "send !r m.room.message", id).unwrap()
        };
        let (sender, into, first) = (world.clone(), Arc::clone(&room), transaction.clone());
        let sent =
            tokio::spawn(async move { sender.send_once(&into, ALICE, "unknown", first).await });
        let late = call.await.cut();
        let way = Arc::clone(&proxy);
        let cutting = tokio::spawn(async move {
            loop {
                way.catch().await.cut();
            }
        });
        let unknown = sent.await.unwrap();
        assert!(matches!(unknown, Err(RoomError::Append(AppendError::Unavailable))), "{unknown:?}");
        cutting.abort();
        late.deliver().await;

        // The event is found, and the client's retry gets it as the answer.
        world.node.freshness.current().await.unwrap();
        let found = world.send_once(&room, ALICE, "unknown", transaction).await.unwrap();
        world.event(&room, ALICE, &found).await.unwrap();
        let event = world.rooms.unchecked_events.by_id(&found).await.unwrap().unwrap();
        assert!(event.pos.is_some() && event.order.is_some(), "{event:?}");
        let next = world.send(&room, ALICE, "next").await;
        let next = world.rooms.unchecked_events.by_id(&next).await.unwrap().unwrap();
        assert_eq!(next.pdu.prev_events, [found]);
    });
}
