//! The idle server: its memory and its CPU time.

use crate::{figures::Report, setup::Bench};

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut report = Report::default();
    let phase = bench.processes().start_phase();
    tokio::time::sleep(bench.scale.rest).await;
    phase.end(&mut report);
    report
}
