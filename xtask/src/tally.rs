//! How many tests passed and how many failed.

use std::{fmt, ops::AddAssign};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Tally {
    /// Corrects what a test program said of itself by how it ended: one that broke off has lost
    /// tests, and one that ran none has shown nothing.
    pub(crate) fn of_program(self, succeeded: bool) -> Self {
        let convincing = succeeded && self.passed > 0;
        if convincing || self.failed > 0 { self } else { Self { failed: 1, ..self } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_has_a_failure() {
        let tally = Tally { passed: 4, failed: 0 };
        assert_eq!(tally.of_program(true), tally);
        assert_eq!(tally.of_program(false), Tally { passed: 4, failed: 1 });
    }

    #[test]
    fn a_program_that_runs_nothing_fails() {
        assert_eq!(Tally::default().of_program(true), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn counted_failures_are_kept() {
        let tally = Tally { passed: 0, failed: 3 };
        assert_eq!(tally.of_program(false), tally);
    }
}
