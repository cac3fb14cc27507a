//! No position is given out twice, whatever a restore has taken away.

use stoa_base::Pos;
use stoa_storage::{Store, log};
use stoa_testing::{TestNode, both_databases, sample};

use crate::{ROOM, write};

/// Starts a node's run, as a server does.
async fn rise(store: &Store) -> Pos {
    let mut conn = store.write().await.unwrap();
    log::rise_to_now(&mut conn).await.unwrap();
    let head = log::head(&mut conn).await.unwrap();
    conn.commit().await.unwrap();
    head
}

async fn was_lost(store: &Store, pos: Pos) -> bool {
    log::was_lost(&mut store.read().await.unwrap(), pos).await.unwrap()
}

both_databases! {
    async fn a_start_goes_on_above_what_a_restore_has_taken_away(db: TestDatabase) {
        let store = db.store().await;
        let first = rise(&store).await;
        let node = TestNode::start_on(store.clone(), Default::default()).await;
        let kept = write(&node, sample::message(1, ROOM)).await.last();
        assert!(kept > first);
        let mut taken_away = kept;
        for nid in 2..=50 {
            taken_away = write(&node, sample::message(nid, ROOM)).await.last();
        }
        let mut conn = store.write().await.unwrap();
        conn.execute("DELETE FROM log_batches WHERE last_pos > $1", &[kept.0.into()]).await.unwrap();
        conn.commit().await.unwrap();

        let risen = rise(&store).await;
        assert!(risen > taken_away, "{risen} is not above {taken_away}");
        assert!(!was_lost(&store, kept).await);
        assert!(was_lost(&store, Pos(kept.0 + 1)).await);
        assert!(was_lost(&store, taken_away).await);
        assert!(!was_lost(&store, risen).await);
        assert!(!was_lost(&store, Pos::START).await);
    }

    async fn the_log_does_not_jump_back(db: TestDatabase) {
        let store = db.store().await;
        let first = rise(&store).await;
        let ahead = log::raise(&store, Pos(first.0 + 1)).await.unwrap();
        assert!(ahead > Pos(first.0 + 1));
        assert_eq!(rise(&store).await, ahead, "it is above the present already");
        assert_eq!(log::raise(&store, first).await.unwrap(), ahead);
        assert!(was_lost(&store, Pos(first.0 + 1)).await);
    }
}
