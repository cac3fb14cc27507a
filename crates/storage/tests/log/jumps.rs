//! No position is given out twice, whatever a restore has removed.

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

/// Continues the log above `seen`, after it lost only what came after its current end.
async fn raise(store: &Store, seen: Pos) -> Pos {
    let head = log::head_mark(&mut store.read().await.unwrap()).await.unwrap();
    log::raise(store, seen, &[head]).await.unwrap().pos
}

async fn was_lost(store: &Store, pos: Pos) -> bool {
    log::was_lost(&mut store.read().await.unwrap(), pos).await.unwrap()
}

both_databases! {
    async fn a_start_continues_above_what_a_restore_removed(db: TestDatabase) {
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
        let ahead = raise(&store, Pos(first.0 + 1)).await;
        assert!(ahead > Pos(first.0 + 1));
        assert_eq!(rise(&store).await, ahead, "it is above the present already");
        assert_eq!(raise(&store, Pos(first.0 + 1)).await, ahead, "another node was faster");
        assert!(was_lost(&store, Pos(first.0 + 1)).await);
    }

    async fn if_the_log_has_grown_again_everything_up_to_what_was_seen_may_be_lost(db: TestDatabase) {
        let store = db.store().await;
        let node = TestNode::start_on(store.clone(), Default::default()).await;
        let mut known = Vec::new();
        for nid in 1..=9 {
            write(&node, sample::message(nid, ROOM)).await;
            known.push(log::head_mark(&mut store.read().await.unwrap()).await.unwrap());
        }
        // Another node has continued from the third position.
        stoa_testing::surgery::lose_log_after(&store, Pos(3)).await;
        let sql = "
            INSERT INTO log_batches
                (last_pos, prev_pos, incarnation, batch_seq, committed_ms, touched)
            VALUES (4, 3, 9, 1, 1, '[]')";
        let mut conn = store.write().await.unwrap();
        conn.execute(sql, &[]).await.unwrap();
        conn.commit().await.unwrap();

        let raised = log::raise(&store, Pos(9), &known).await.unwrap();
        assert!(raised.pos > Pos(9));
        assert_eq!(log::head_mark(&mut store.read().await.unwrap()).await.unwrap(), raised);
        for pos in 1..=9 {
            assert!(was_lost(&store, Pos(pos)).await, "{pos}");
        }
        assert!(!was_lost(&store, raised.pos).await);
        stoa_testing::surgery::prune_log(&store, i64::MAX).await.unwrap();
        assert!(was_lost(&store, Pos(4)).await, "losses are remembered");
    }
}
