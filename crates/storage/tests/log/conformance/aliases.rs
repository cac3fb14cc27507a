use stoa_base::RoomNid;
use stoa_storage::repo::aliases::{self, AliasRow};
use stoa_testing::both_databases;

use super::{UNUSUAL, refused};

fn row(alias: &str, room: i64) -> AliasRow {
    AliasRow { alias: alias.to_owned(), room: RoomNid(room), creator: "@alice:test".to_owned() }
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(aliases::get(&mut conn, "#a:test").await.unwrap(), None);
        assert_eq!(aliases::of_room(&mut conn, RoomNid(7), 10).await.unwrap(), []);
        assert!(!aliases::settle(&mut conn, "#a:test", 1, RoomNid(7)).await.unwrap());
        assert!(!aliases::delete(&mut conn, "#a:test", RoomNid(7)).await.unwrap());
        aliases::release(&mut conn, "#a:test", 1).await.unwrap();
        aliases::release_overdue(&mut conn, i64::MAX).await.unwrap();
    }

    async fn an_alias_is_taken_once(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert!(aliases::insert(&mut conn, &row("#a:test", 7)).await.unwrap());
        assert!(!aliases::insert(&mut conn, &row("#a:test", 8)).await.unwrap());
        assert!(!aliases::reserve(&mut conn, "#a:test", "@bob:test", 9).await.unwrap());
        assert!(aliases::insert(&mut conn, &row("#A:test", 8)).await.unwrap(), "another alias");
        let found = aliases::get(&mut conn, "#a:test").await.unwrap();
        assert_eq!(found, Some(row("#a:test", 7)));
    }

    async fn the_aliases_of_a_room_come_in_order_and_limited(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for alias in ["#b:test", "#a:test", "#B:test", "#ä:test"] {
            aliases::insert(&mut conn, &row(alias, 7)).await.unwrap();
        }
        aliases::insert(&mut conn, &row("#other:test", 8)).await.unwrap();
        aliases::reserve(&mut conn, "#c:test", "@alice:test", 9).await.unwrap();
        let order = ["#B:test", "#a:test", "#b:test", "#ä:test"];
        for (limit, count) in [(0, 0), (1, 1), (3, 3), (4, 4), (i64::MAX, 4)] {
            let found = aliases::of_room(&mut conn, RoomNid(7), limit).await.unwrap();
            assert_eq!(found, order[..count].iter().map(|alias| row(alias, 7)).collect::<Vec<_>>());
        }
    }

    async fn a_reservation_becomes_an_alias_or_ends(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (alias, until) in [("#a:test", 5), ("#b:test", 5), ("#c:test", 6), ("#d:test", 7)] {
            assert!(aliases::reserve(&mut conn, alias, "@alice:test", until).await.unwrap());
            assert!(!aliases::reserve(&mut conn, alias, "@bob:test", until).await.unwrap());
            assert_eq!(aliases::get(&mut conn, alias).await.unwrap(), None, "it leads nowhere yet");
        }
        // Only the caller that made a reservation knows until when it lasts.
        assert!(!aliases::settle(&mut conn, "#a:test", 6, RoomNid(7)).await.unwrap());
        assert!(aliases::settle(&mut conn, "#a:test", 5, RoomNid(7)).await.unwrap());
        assert!(!aliases::settle(&mut conn, "#a:test", 5, RoomNid(8)).await.unwrap(), "twice");
        aliases::release(&mut conn, "#b:test", 6).await.unwrap();
        assert!(!aliases::insert(&mut conn, &row("#b:test", 7)).await.unwrap(), "still reserved");
        aliases::release(&mut conn, "#b:test", 5).await.unwrap();
        assert!(aliases::insert(&mut conn, &row("#b:test", 7)).await.unwrap());
        aliases::release_overdue(&mut conn, 7).await.unwrap();
        assert!(aliases::insert(&mut conn, &row("#c:test", 8)).await.unwrap(), "it was until 6");
        assert!(!aliases::insert(&mut conn, &row("#d:test", 8)).await.unwrap(), "it is until 7");
        let found = aliases::of_room(&mut conn, RoomNid(7), 10).await.unwrap();
        assert_eq!(found, [row("#a:test", 7), row("#b:test", 7)]);
    }

    async fn an_alias_is_deleted_from_its_room_only(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        aliases::insert(&mut conn, &row("#a:test", 7)).await.unwrap();
        aliases::insert(&mut conn, &row("#b:test", 7)).await.unwrap();
        assert!(!aliases::delete(&mut conn, "#a:test", RoomNid(8)).await.unwrap());
        assert!(aliases::delete(&mut conn, "#a:test", RoomNid(7)).await.unwrap());
        assert!(!aliases::delete(&mut conn, "#a:test", RoomNid(7)).await.unwrap(), "twice");
        assert_eq!(aliases::of_room(&mut conn, RoomNid(7), 10).await.unwrap(), [row("#b:test", 7)]);
    }

    async fn unusual_texts_and_numbers(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (alias, room) in UNUSUAL.into_iter().zip([i64::MIN, i64::MAX].into_iter().cycle()) {
            assert!(aliases::insert(&mut conn, &row(alias, room)).await.unwrap());
            assert_eq!(aliases::get(&mut conn, alias).await.unwrap(), Some(row(alias, room)));
        }
        assert!(aliases::reserve(&mut conn, "#last:test", "", i64::MAX).await.unwrap());
        assert!(aliases::settle(&mut conn, "#last:test", i64::MAX, RoomNid(0)).await.unwrap());
        refused(aliases::get(&mut conn, "#a\0b:test").await);
        refused(aliases::insert(&mut conn, &row("#a\0b:test", 7)).await);
        refused(aliases::reserve(&mut conn, "#a\0b:test", "@alice:test", 1).await);
    }
}
