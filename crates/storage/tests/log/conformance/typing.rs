//! PostgreSQL only, like the repository.

use stoa_base::RoomNid;
use stoa_storage::{
    Backend, Conn,
    repo::typing::{self, TypingChange, TypingNews},
};
use stoa_testing::run_on;

use super::{UNUSUAL, refused};

const HOUR: i64 = 3_600_000;

fn change(room: i64, user_id: Option<&str>, timeout_ms: Option<i64>) -> TypingChange {
    TypingChange { room_nid: RoomNid(room), user_id: user_id.map(str::to_owned), timeout_ms }
}

fn starts(room: i64, user_id: &str) -> TypingChange {
    change(room, Some(user_id), Some(HOUR))
}

/// The rooms of the news, each with its counts and the users who are typing.
fn rooms(news: &TypingNews) -> Vec<(i64, i64, i64, Vec<&str>)> {
    let mut rooms = Vec::new();
    for room in &news.rooms {
        let users = room.typing.iter().map(|(user_id, _)| user_id.as_str()).collect();
        rooms.push((room.room.0, room.written, room.version, users));
    }
    rooms
}

async fn all(conn: &mut Conn) -> TypingNews {
    typing::news(conn, 0, 0, 100).await.unwrap().unwrap()
}

#[test]
fn nothing() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        assert_eq!(typing::news(&mut conn, 0, 0, 100).await.unwrap(), None);
        typing::change(&mut conn, &[], 100).await.unwrap();
        let news = all(&mut conn).await;
        assert_eq!((news.counter, news.more, rooms(&news)), (0, false, vec![]));
    });
}

#[test]
fn typing_news_start_at_the_readers_counter() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        for changes in [
            vec![starts(7, "@a:test"), starts(7, "@b:test")],
            vec![starts(8, "@a:test")],
            // A user who continues to type is written, but is not news.
            vec![starts(7, "@b:test")],
            vec![change(8, Some("@a:test"), None), change(9, Some("@a:test"), None)],
        ] {
            typing::change(&mut conn, &changes, 100).await.unwrap();
        }
        let news = all(&mut conn).await;
        assert_eq!((news.counter, news.more), (4, false));
        let seven = (7, 3, 1, vec!["@a:test", "@b:test"]);
        let eight = (8, 4, 4, vec![]);
        assert_eq!(rooms(&news), [seven.clone(), eight.clone()]);
        for (_, remaining_ms) in &news.rooms[0].typing {
            assert!(*remaining_ms > HOUR - 60_000 && *remaining_ms <= HOUR, "{remaining_ms}");
        }
        let epoch = news.epoch;
        for (epoch, counter, limit, expected, upto, more) in [
            (epoch, 3, 100, vec![eight.clone()], 4, false),
            (epoch, 4, 100, vec![], 4, false),
            // Another epoch: everything that is current.
            (epoch - 1, 4, 100, vec![seven.clone(), eight.clone()], 4, false),
            // There may be more if the limit is reached; it continues after the last one.
            (epoch, 0, 1, vec![seven.clone()], 3, true),
            (epoch, 3, 1, vec![eight], 4, true),
        ] {
            let news = typing::news(&mut conn, epoch, counter, limit).await.unwrap().unwrap();
            assert_eq!((rooms(&news), news.counter, news.more), (expected, upto, more));
        }
    });
}

#[test]
fn users_whose_time_is_over_are_removed_by_the_next_change() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        let over = change(7, Some("@a:test"), Some(-1));
        typing::change(&mut conn, &[starts(7, "@b:test"), over], 100).await.unwrap();
        typing::change(&mut conn, &[change(7, None, None)], 100).await.unwrap();
        assert_eq!(rooms(&all(&mut conn).await), [(7, 2, 1, vec!["@b:test"])]);
    });
}

#[test]
fn rooms_that_were_not_written_for_long_are_forgotten() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        for room in [1, 2, 3] {
            typing::change(&mut conn, &[starts(room, "@a:test")], 2).await.unwrap();
        }
        let found: Vec<i64> = all(&mut conn).await.rooms.iter().map(|room| room.room.0).collect();
        assert_eq!(found, [2, 3]);
    });
}

#[test]
fn unusual_texts_and_numbers() {
    run_on(Backend::Postgres, async |db| {
        let store = db.store().await;
        let mut conn = store.read().await.unwrap();
        let changes: Vec<_> = UNUSUAL.iter().map(|text| starts(i64::MAX, text)).collect();
        typing::change(&mut conn, &changes, i64::MAX / 2).await.unwrap();
        let news = all(&mut conn).await;
        let mut expected = UNUSUAL;
        expected.sort_unstable();
        assert_eq!(rooms(&news), [(i64::MAX, 1, 1, expected.to_vec())]);
        refused(typing::change(&mut conn, &[starts(7, "a\0b")], 100).await);
    });
}
