use ruma::{DeviceId, UserId};
use stoa_storage::repo::devices::{self, DeviceRow, LastSeenRow};
use stoa_testing::{TestNode, both_databases};

use super::{UNUSUAL, alice, bob, make_device, refused};

type Short = (String, Option<String>, Option<i64>, Option<String>);

fn short(row: &DeviceRow) -> Short {
    let name = row.display_name.clone();
    (row.device_id.to_string(), name, row.last_seen_ms, row.last_seen_address.clone())
}

fn named(device_id: &str, name: Option<&str>) -> Short {
    (device_id.to_owned(), name.map(str::to_owned), None, None)
}

fn seen(user_id: &UserId, device_id: &str, ms: i64, address: Option<&str>) -> LastSeenRow {
    LastSeenRow {
        user_id: user_id.to_owned(),
        device_id: device_id.into(),
        ms,
        address: address.map(str::to_owned),
    }
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(devices::list(&mut conn, alice()).await.unwrap().is_empty());
        assert!(devices::find(&mut conn, alice(), "A".into()).await.unwrap().is_none());
        drop(conn);
        devices::set_last_seen(&store, &[seen(alice(), "A", 1, None)]).await.unwrap();
        devices::set_last_seen(&store, &[]).await.unwrap();
    }

    async fn devices_come_by_id_and_the_first_of_an_id_stays(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (device_id, name) in [("b", None), ("B", Some("one")), ("ä", None), ("B", Some("two"))] {
            make_device(&node, alice(), device_id, name).await;
        }
        make_device(&node, bob(), "B", Some("Bob's")).await;
        let mut conn = node.store.read().await.unwrap();
        let list = devices::list(&mut conn, alice()).await.unwrap();
        let found: Vec<_> = list.iter().map(short).collect();
        assert_eq!(found, [named("B", Some("one")), named("b", None), named("ä", None)]);
        let found = devices::find(&mut conn, bob(), "B".into()).await.unwrap().unwrap();
        assert_eq!(short(&found), named("B", Some("Bob's")));
        assert!(devices::find(&mut conn, bob(), "b".into()).await.unwrap().is_none());
    }

    async fn a_device_was_last_seen_at_the_latest_time(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for (user_id, device_id) in [(alice(), "A"), (alice(), "it's\"🦀"), (bob(), "A")] {
            make_device(&node, user_id, device_id, None).await;
        }
        let store = &node.store;
        for batch in [
            vec![
                seen(alice(), "A", 5, Some("address")),
                seen(alice(), "it's\"🦀", i64::MAX, Some("it's\"🦀")),
                seen(alice(), "gone", 5, None),
            ],
            vec![seen(alice(), "A", 4, Some("older")), seen(bob(), "A", i64::MIN, None)],
            vec![seen(alice(), "A", 5, Some("as old"))],
        ] {
            devices::set_last_seen(store, &batch).await.unwrap();
        }
        let mut conn = store.read().await.unwrap();
        let list = devices::list(&mut conn, alice()).await.unwrap();
        let found: Vec<_> = list.iter().map(short).collect();
        let at = |device_id: &str, ms, address: &str| {
            (device_id.to_owned(), None, Some(ms), Some(address.to_owned()))
        };
        assert_eq!(found, [at("A", 5, "address"), at("it's\"🦀", i64::MAX, "it's\"🦀")]);
        let list = devices::list(&mut conn, bob()).await.unwrap();
        assert_eq!(short(&list[0]), ("A".to_owned(), None, Some(i64::MIN), None));
    }

    async fn the_most_recently_used_devices_are_kept(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for device_id in ["A", "B", "C", "D", "E"] {
            make_device(&node, alice(), device_id, None).await;
        }
        make_device(&node, bob(), "A", None).await;
        // The others were last seen when they were created, at 1.
        let used = [("B", 30), ("C", 10), ("D", 20)].map(|(id, ms)| seen(alice(), id, ms, None));
        devices::set_last_seen(&node.store, &used).await.unwrap();
        let mut conn = node.store.read().await.unwrap();
        for (but, kept, expected) in [
            ("A", 1, vec!["B", "D", "C", "E"]),
            ("A", 3, vec!["C", "E"]),
            ("A", 5, vec![]),
            ("A", i64::MAX, vec![]),
            // There is always the device in use.
            ("A", 0, vec!["B", "D", "C", "E"]),
            ("new", 3, vec!["C", "A", "E"]),
        ] {
            let found = devices::longest_unused(&mut conn, alice(), but.into(), kept).await;
            assert_eq!(found.unwrap(), expected, "{but} {kept}");
        }
        let carol = ruma::user_id!("@carol:test");
        assert!(devices::longest_unused(&mut conn, carol, "A".into(), 1).await.unwrap().is_empty());
        refused(devices::longest_unused(&mut conn, alice(), "a\0b".into(), 1).await);
    }

    async fn unusual_texts(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for text in UNUSUAL {
            make_device(&node, alice(), text, Some(text)).await;
            let mut conn = node.store.write().await.unwrap();
            let found = devices::find(&mut conn, alice(), text.into()).await.unwrap().unwrap();
            assert_eq!(short(&found), named(text, Some(text)));
        }
        let null: &DeviceId = "a\0b".into();
        let mut conn = node.store.write().await.unwrap();
        refused(devices::find(&mut conn, alice(), null).await);
        drop(conn);
        let with_null = [seen(alice(), "A", 1, Some("a\0b"))];
        refused(devices::set_last_seen(&node.store, &with_null).await);
    }
}
