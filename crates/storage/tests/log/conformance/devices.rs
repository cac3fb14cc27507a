use ruma::{DeviceId, UserId};
use stoa_storage::{
    Conn,
    repo::devices::{self, DeviceRow, LastSeenRow},
};
use stoa_testing::both_databases;

use super::{UNUSUAL, alice, bob, long_text, refused};

async fn insert(conn: &mut Conn, user_id: &UserId, device_id: &str, name: Option<&str>) {
    devices::insert(conn, user_id, device_id.into(), name, 1).await.unwrap();
}

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
        assert!(!devices::rename(&mut conn, alice(), "A".into(), Some("name")).await.unwrap());
        drop(conn);
        devices::set_last_seen(&store, &[seen(alice(), "A", 1, None)]).await.unwrap();
        devices::set_last_seen(&store, &[]).await.unwrap();
    }

    async fn devices_come_by_id_and_the_first_of_an_id_stays(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (device_id, name) in [("b", None), ("B", Some("one")), ("ä", None), ("B", Some("two"))] {
            insert(&mut conn, alice(), device_id, name).await;
        }
        insert(&mut conn, bob(), "B", Some("Bob's")).await;
        let list = devices::list(&mut conn, alice()).await.unwrap();
        let found: Vec<_> = list.iter().map(short).collect();
        assert_eq!(found, [named("B", Some("one")), named("b", None), named("ä", None)]);
        let found = devices::find(&mut conn, bob(), "B".into()).await.unwrap().unwrap();
        assert_eq!(short(&found), named("B", Some("Bob's")));
        assert!(devices::find(&mut conn, bob(), "b".into()).await.unwrap().is_none());
    }

    async fn a_device_is_renamed_and_no_other(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (user_id, device_id) in [(alice(), "A"), (alice(), "B"), (bob(), "A")] {
            insert(&mut conn, user_id, device_id, Some("old")).await;
        }
        assert!(devices::rename(&mut conn, alice(), "A".into(), Some("new")).await.unwrap());
        assert!(devices::rename(&mut conn, alice(), "A".into(), Some("new")).await.unwrap(), "twice");
        assert!(devices::rename(&mut conn, alice(), "B".into(), None).await.unwrap());
        assert!(!devices::rename(&mut conn, bob(), "B".into(), Some("new")).await.unwrap());
        let list = devices::list(&mut conn, alice()).await.unwrap();
        let found: Vec<_> = list.iter().map(short).collect();
        assert_eq!(found, [named("A", Some("new")), named("B", None)]);
        let list = devices::list(&mut conn, bob()).await.unwrap();
        assert_eq!(short(&list[0]), named("A", Some("old")));
    }

    async fn a_device_was_last_seen_at_the_latest_time(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (user_id, device_id) in [(alice(), "A"), (alice(), "it's\"🦀"), (bob(), "A")] {
            insert(&mut conn, user_id, device_id, None).await;
        }
        conn.commit().await.unwrap();
        for batch in [
            vec![
                seen(alice(), "A", 5, Some("address")),
                seen(alice(), "it's\"🦀", i64::MAX, Some("it's\"🦀")),
                seen(alice(), "gone", 5, None),
            ],
            vec![seen(alice(), "A", 4, Some("older")), seen(bob(), "A", i64::MIN, None)],
            vec![seen(alice(), "A", 5, Some("as old"))],
        ] {
            devices::set_last_seen(&store, &batch).await.unwrap();
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

    async fn unusual_texts(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let long = long_text();
        for text in UNUSUAL {
            insert(&mut conn, alice(), text, Some(text)).await;
            let found = devices::find(&mut conn, alice(), text.into()).await.unwrap().unwrap();
            assert_eq!(short(&found), named(text, Some(text)));
            assert!(devices::rename(&mut conn, alice(), text.into(), Some(&long)).await.unwrap());
            let found = devices::find(&mut conn, alice(), text.into()).await.unwrap().unwrap();
            assert_eq!(short(&found), named(text, Some(&long)));
        }
        let null: &DeviceId = "a\0b".into();
        refused(devices::insert(&mut conn, alice(), null, None, 1).await);
        refused(devices::insert(&mut conn, alice(), "A".into(), Some("a\0b"), 1).await);
        refused(devices::find(&mut conn, alice(), null).await);
        refused(devices::rename(&mut conn, alice(), "A".into(), Some("a\0b")).await);
        drop(conn);
        refused(devices::set_last_seen(&store, &[seen(alice(), "A", 1, Some("a\0b"))]).await);
    }
}
