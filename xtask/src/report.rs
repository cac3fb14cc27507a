//! What the terminal shows: each step with its time, the output of a failure in full, and at the
//! end one line of totals.

use std::time::Instant;

use crate::{
    error::{Error, Result},
    tally::Tally,
};

pub(crate) struct Report {
    total: Tally,
}

/// What a step found.
pub(crate) enum Outcome {
    /// A rule that holds, or, with findings, does not.
    Rule { findings: Vec<String> },
    /// Tests that ran; `output` is shown if one of them failed.
    Tests { tally: Tally, output: String },
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { total: Tally::default() }
    }

    /// Does one step and shows how it went. Only an interrupt keeps the next from running.
    pub(crate) fn step(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<Outcome>,
    ) -> Result<()> {
        println!("==> {name}");
        let start = now();
        let outcome = match work() {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => Outcome::Rule { findings: vec![error.to_string()] },
            Ok(outcome) => outcome,
        };
        let seconds = start.elapsed().as_secs_f32();
        let (tally, words) = match outcome {
            Outcome::Rule { findings } if findings.is_empty() => (Tally::default(), "ok".into()),
            Outcome::Rule { findings } => {
                for finding in findings {
                    println!("{}", finding.trim_end());
                }
                // A rule counts only when it is broken, so that the totals are those of tests.
                (Tally { passed: 0, failed: 1 }, "FAILED".to_owned())
            }
            Outcome::Tests { tally, output } => {
                if tally.failed > 0 {
                    println!("{}", output.trim_end());
                }
                (tally, tally.to_string())
            }
        };
        println!("    {words} ({name}, {seconds:.1} s)");
        self.total += tally;
        Ok(())
    }

    /// Prints the totals, and returns whether all is well.
    pub(crate) fn finish(self) -> bool {
        println!("{}", self.total);
        self.total.failed == 0
    }
}

/// A line within a step, for long operations.
pub(crate) fn progress(line: &str) {
    println!("    {line}");
}

#[expect(clippy::disallowed_methods, reason = "how long a step took is only shown")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_a_broken_rule_is_a_failure() {
        let mut report = Report::new();
        report.step("kept", || Ok(Outcome::Rule { findings: vec![] })).unwrap();
        let tests = Outcome::Tests { tally: Tally { passed: 5, failed: 0 }, output: String::new() };
        report.step("tests", || Ok(tests)).unwrap();
        assert_eq!(report.total, Tally { passed: 5, failed: 0 });
        let broken = Outcome::Rule { findings: vec!["a".into(), "b".into()] };
        report.step("broken", || Ok(broken)).unwrap();
        report.step("impossible", || Err(Error::Missing("c".into()))).unwrap();
        assert_eq!(report.total, Tally { passed: 5, failed: 2 });
        assert!(!report.finish());
    }

    #[test]
    fn an_interrupt_ends_the_run() {
        let outcome = Report::new().step("long", || Err(Error::Interrupted));
        assert!(matches!(outcome, Err(Error::Interrupted)));
    }
}
