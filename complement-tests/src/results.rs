//! The outcome of every test of a run, and the form in which a run is recorded.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::Deserialize;

/// How a test ended; a later variant outweighs an earlier one where a test ran more than once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Outcome {
    Pass,
    Skip,
    Fail,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Fail => "FAIL",
        })
    }
}

/// A test, or a subtest named by its path.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct TestName {
    /// The import path of its Go package.
    pub(crate) package: String,
    /// Its name, those of the tests that contain it in front: `TestSync/parallel/Can_sync`.
    pub(crate) test: String,
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.test)
    }
}

/// One recorded test, a line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    package: String,
    test: String,
    result: Outcome,
}

/// All tests of a run, in the order in which they are recorded.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Results(BTreeMap<TestName, Outcome>);

impl Results {
    /// Reads a recorded run. An error comes with the number of its line.
    pub(crate) fn from_jsonl(text: &str) -> Result<Self, (usize, serde_json::Error)> {
        let mut results = Self::default();
        for (index, line) in text.lines().enumerate() {
            let Line { package, test, result } =
                serde_json::from_str(line).map_err(|error| (index + 1, error))?;
            results.add(TestName { package, test }, result);
        }
        Ok(results)
    }

    /// The run as it is recorded: one JSON object a line, sorted by package and test.
    pub(crate) fn to_jsonl(&self) -> String {
        self.0
            .iter()
            .map(|(TestName { package, test }, result)| {
                let [package, test] = [package, test].map(|text| serde_json::json!(text));
                format!(r#"{{"package":{package},"test":{test},"result":"{result}"}}"#) + "\n"
            })
            .collect()
    }

    /// Adds a result. The worse one counts where the test is known already.
    pub(crate) fn add(&mut self, name: TestName, outcome: Outcome) {
        match self.0.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(outcome);
            }
            Entry::Occupied(mut entry) => {
                let worse = outcome.max(*entry.get());
                entry.insert(worse);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tests that passed here and do not in `run`, with their outcome there if they ran at all.
    pub(crate) fn lost_in<'a>(&'a self, run: &Self) -> Vec<(&'a TestName, Option<Outcome>)> {
        self.0
            .iter()
            .filter(|(_, outcome)| **outcome == Outcome::Pass)
            .map(|(name, _)| (name, run.0.get(name).copied()))
            .filter(|(_, now)| *now != Some(Outcome::Pass))
            .collect()
    }

    /// How many tests ended in which way.
    pub(crate) fn tally(&self) -> Tally {
        let count = |outcome| self.0.values().filter(|result| **result == outcome).count();
        Tally {
            passed: count(Outcome::Pass),
            failed: count(Outcome::Fail),
            skipped: count(Outcome::Skip),
        }
    }
}

/// The last line of a report.
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> TestName {
        TestName { package: "example/csapi".to_owned(), test: test.to_owned() }
    }

    fn results(tests: &[(&str, Outcome)]) -> Results {
        let mut results = Results::default();
        for (test, outcome) in tests {
            results.add(name(test), *outcome);
        }
        results
    }

    #[test]
    fn a_record_is_sorted_and_reads_back() {
        let run = results(&[
            ("TestB", Outcome::Fail),
            ("TestA/with_\"quotes\"", Outcome::Pass),
            ("TestC", Outcome::Skip),
        ]);
        let text = run.to_jsonl();
        assert_eq!(
            text,
            concat!(
                r#"{"package":"example/csapi","test":"TestA/with_\"quotes\"","result":"PASS"}"#,
                "\n",
                r#"{"package":"example/csapi","test":"TestB","result":"FAIL"}"#,
                "\n",
                r#"{"package":"example/csapi","test":"TestC","result":"SKIP"}"#,
                "\n",
            )
        );
        assert_eq!(Results::from_jsonl(&text).unwrap(), run);
    }

    #[test]
    fn a_broken_record_names_its_line() {
        let text = results(&[("TestA", Outcome::Pass)]).to_jsonl() + "{}\n";
        let (line, _) = Results::from_jsonl(&text).unwrap_err();
        assert_eq!(line, 2);
    }

    #[test]
    fn the_worse_of_two_results_counts() {
        let run = results(&[
            ("TestA", Outcome::Pass),
            ("TestA", Outcome::Fail),
            ("TestB", Outcome::Skip),
            ("TestB", Outcome::Pass),
        ]);
        assert_eq!(run, results(&[("TestA", Outcome::Fail), ("TestB", Outcome::Skip)]));
    }

    #[test]
    fn tests_that_passed_and_do_not_now_are_lost() {
        let before = results(&[
            ("TestFailed", Outcome::Fail),
            ("TestGone", Outcome::Pass),
            ("TestKept", Outcome::Pass),
            ("TestLost", Outcome::Pass),
            ("TestSkippedNow", Outcome::Pass),
        ]);
        let now = results(&[
            ("TestFailed", Outcome::Fail),
            ("TestKept", Outcome::Pass),
            ("TestLost", Outcome::Fail),
            ("TestNew", Outcome::Fail),
            ("TestSkippedNow", Outcome::Skip),
        ]);
        assert_eq!(
            before.lost_in(&now),
            [
                (&name("TestGone"), None),
                (&name("TestLost"), Some(Outcome::Fail)),
                (&name("TestSkippedNow"), Some(Outcome::Skip)),
            ]
        );
    }
}
