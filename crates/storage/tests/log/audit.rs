//! The audit log and the chain over it.

use ruma::user_id;
use stoa_base::{Actor, Pos};
use stoa_storage::{
    Store,
    log::{
        Append, AuditAction, AuditFault, AuditLink, AuditRow, audit_head, has_audit_link,
        verify_audit,
    },
};
use stoa_testing::{TestNode, both_databases};

use crate::{together, write};

fn entry(number: i64) -> AuditRow {
    let alice = Actor::user(user_id!("@alice:test"));
    AuditRow::new(number, AuditAction::SessionBegun, &alice, "@alice:test")
}

fn with(rows: impl IntoIterator<Item = AuditRow>) -> Append {
    let mut append = Append::new();
    append.audit.extend(rows);
    append
}

/// Changes something in the database without the server's knowledge.
async fn falsify(store: &Store, sql: &'static str) {
    let mut conn = store.write().await.unwrap();
    assert_eq!(conn.execute(sql, &[]).await.unwrap(), 1, "{sql}");
    conn.commit().await.unwrap();
}

async fn fault(store: &Store) -> Option<AuditFault> {
    verify_audit(store).await.unwrap().fault
}

both_databases! {
    // The links were computed by another program, from the description in migrations/.
    async fn the_chain_is_the_same_on_either_database(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let actor = Actor {
            device_id: Some("D".into()),
            address: Some("192.0.2.1".parse().unwrap()),
            ..Actor::user(user_id!("@alice:test"))
        };
        let at_ms = 1_700_000_000_000;
        let created = AuditRow::new(at_ms, AuditAction::AccountCreated, &actor, "@bob:test")
            .with("note", "it's \"é\" \0 \\ 🦀");
        let failed = AuditRow::unattributed(at_ms + 1, AuditAction::LoginFailed, None, "").refused();
        write(&node, with([created, failed])).await;
        write(&node, with([entry(at_ms + 2)])).await;

        let link = |pos, link: &str| AuditLink { pos: Pos(pos), link: link.to_owned() };
        let first = "69312afad8d10933c669bf63920952429408632eb3e598e2e868973ccecd171f";
        let second = "e5f3947e5365d405b7f3210a0b079df23c5f53f0186f1171bbfdea831b255f30";
        let mut conn = node.store.read().await.unwrap();
        assert!(has_audit_link(&mut conn, &link(1, first)).await.unwrap());
        assert!(!has_audit_link(&mut conn, &link(2, first)).await.unwrap());
        assert_eq!(audit_head(&mut conn).await.unwrap(), Some(link(2, second)));
        let check = verify_audit(&node.store).await.unwrap();
        assert_eq!((check.entries, check.links, check.fault), (3, 2, None));
        assert_eq!(check.head, Some(link(2, second)));
    }

    async fn an_empty_log_is_intact_and_batches_without_entries_have_no_link(db: TestDatabase) {
        let node = TestNode::start(db).await;
        write(&node, Append::new()).await;
        let check = verify_audit(&node.store).await.unwrap();
        assert_eq!((check.entries, check.links, check.head, check.fault), (0, 0, None, None));
    }

    async fn one_batch_has_one_link_for_all_its_appends(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let appends = (0..500).map(|number| with([entry(number)])).collect();
        for answer in together(&node, appends).await {
            answer.unwrap();
        }
        for number in 500..750 {
            write(&node, with([entry(number)])).await;
        }
        let check = verify_audit(&node.store).await.unwrap();
        assert_eq!((check.entries, check.fault), (750, None));
        assert!((251..300).contains(&check.links), "{}", check.links);
    }

    async fn an_append_that_conflicts_leaves_no_entry(db: TestDatabase) {
        let node = TestNode::start(db).await;
        let mut append = with([entry(1)]);
        append.guards.push(stoa_storage::log::Guard::Session("gone".to_owned()));
        node.writer.append(append).await.unwrap_err();
        assert_eq!(verify_audit(&node.store).await.unwrap().entries, 0);
    }

    async fn any_tampering_is_detected(db: TestDatabase) {
        let changes: [(&str, AuditFault); 7] = [
            (
                "UPDATE audit_log SET entry = replace(entry, 'alice', 'carol') WHERE pos = 2",
                AuditFault::Changed(Pos(2)),
            ),
            ("DELETE FROM audit_log WHERE pos = 2", AuditFault::Changed(Pos(2))),
            ("UPDATE audit_log SET pos = 9 WHERE pos = 2", AuditFault::Changed(Pos(2))),
            (
                "INSERT INTO audit_log (pos, n, entry) VALUES (2, 1, '{}')",
                AuditFault::Changed(Pos(2)),
            ),
            ("UPDATE audit_chain SET link = 'x' WHERE pos = 2", AuditFault::Changed(Pos(2))),
            ("DELETE FROM audit_chain WHERE pos = 2", AuditFault::Unlinked(Pos(2))),
            (
                "INSERT INTO audit_log (pos, n, entry) VALUES (9, 0, '{}')",
                AuditFault::Unlinked(Pos(9)),
            ),
        ];
        for (sql, expected) in changes {
            let db = stoa_testing::TestDatabase::create(db.backend()).await.unwrap();
            let node = TestNode::start(&db).await;
            for number in 1..=3 {
                write(&node, with([entry(number)])).await;
            }
            assert_eq!(fault(&node.store).await, None);
            falsify(&node.store, sql).await;
            assert_eq!(fault(&node.store).await, Some(expected), "{sql}");
        }
    }

    // Entries cut off at the end, or recomputed, are detected by heads that were exported before.
    async fn a_truncated_chain_lacks_its_earlier_head(db: TestDatabase) {
        let node = TestNode::start(db).await;
        for number in 1..=3 {
            write(&node, with([entry(number)])).await;
        }
        let mut conn = node.store.read().await.unwrap();
        let head = audit_head(&mut conn).await.unwrap().unwrap();
        assert!(has_audit_link(&mut conn, &head).await.unwrap());
        drop(conn);
        falsify(&node.store, "DELETE FROM audit_log WHERE pos = 3").await;
        falsify(&node.store, "DELETE FROM audit_chain WHERE pos = 3").await;
        assert_eq!(fault(&node.store).await, None);
        let mut conn = node.store.read().await.unwrap();
        assert!(!has_audit_link(&mut conn, &head).await.unwrap());
    }
}
