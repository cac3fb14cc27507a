//! The disk is full, or fails for a while. Callers are told that the outcome of their appends is
//! unknown, and once the disk works again, so does the node.

use stoa_base::RoomNid;
use stoa_testing::{Backend, SecondProcess, run_on};

use crate::{
    disk::Disk,
    node_process::{self, NodeProcess},
    witness,
};

const ROOM: RoomNid = RoomNid(1);
const CALLERS: i64 = 5;

/// Reads what the callers are told until `count` of them in a row are told exactly this.
fn wait_for(process: &SecondProcess, answer: &str, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut in_a_row = 0;
    while in_a_row < count {
        // A caller that never stops without being read has used up its numbers.
        let line = process.next_line().expect("a node that goes on");
        in_a_row = if line.starts_with(answer) { in_a_row + 1 } else { 0 };
        lines.push(line);
    }
    lines
}

fn check(set_failing: impl Fn(&Disk, bool)) {
    run_on(Backend::Sqlite, async |db| {
        db.store().await.close().await;
        let disk = Disk::of(db);
        let process = disk.under(NodeProcess::new(db.url(), ROOM).callers(CALLERS)).start();
        let mut lines = Vec::new();
        for _ in 0..3 {
            lines.extend(wait_for(&process, "written", 50));
            set_failing(&disk, true);
            lines.extend(wait_for(&process, "unknown", 50));
            set_failing(&disk, false);
        }
        lines.extend(wait_for(&process, "written", 50));
        lines.extend(process.kill());
        disk.lose_power();

        let told = node_process::told(&lines);
        assert!(told.not_written.is_empty(), "nobody is told anything uncertain");
        let store = db.open().await;
        let found = witness::find(&store, ROOM).await;
        told.check(&found);
        witness::check_log(&store, found.len(), 1).await;
        store.close().await;
    });
}

#[test]
fn a_node_goes_on_when_a_full_disk_has_room_again() {
    check(Disk::set_full);
}

#[test]
fn a_node_goes_on_when_a_disk_that_could_not_flush_can_again() {
    check(Disk::set_broken);
}
