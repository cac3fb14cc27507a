//! Reading the output of `go test -json`.
//!
//! Its lines are JSON objects, one per thing that happened to a test or to a package:
//! <https://pkg.go.dev/cmd/test2json>. What the build prints may stand between them.

use std::{
    collections::BTreeSet,
    io::{self, BufRead},
};

use serde::Deserialize;

use crate::results::{Outcome, Results, TestName};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the output of `go test -json` cannot be read: {0}")]
    Input(#[from] io::Error),
    #[error("the output names no test; is it that of `go test -json`?")]
    NoTest,
    #[error("{0} failed outside its tests, so this is not a whole run")]
    Package(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    package: String,
    /// Absent from what concerns the package as a whole.
    test: Option<String>,
}

/// Reads a run to its end.
///
/// A test that began and did not end failed: it is what `go test` leaves of one that ran into the
/// time limit or took the process with it. A package that fails while all its tests pass, because
/// it does not compile for instance, makes the whole output an error: recorded, its tests would
/// only be missing.
pub(crate) fn read(mut output: impl BufRead) -> Result<Results, Error> {
    let mut results = Results::default();
    let mut unfinished = BTreeSet::new();
    let mut packages_with_failures = BTreeSet::new();
    let mut failed_packages = BTreeSet::new();

    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        if let Ok(Event { action, package, test }) = serde_json::from_slice(&line) {
            match (action.as_str(), test) {
                ("run", Some(test)) => {
                    unfinished.insert(TestName { package, test });
                }
                ("pass" | "fail" | "skip", Some(test)) => {
                    let name = TestName { package, test };
                    let outcome = match action.as_str() {
                        "pass" => Outcome::Pass,
                        "skip" => Outcome::Skip,
                        _ => Outcome::Fail,
                    };
                    if outcome == Outcome::Fail {
                        packages_with_failures.insert(name.package.clone());
                    }
                    unfinished.remove(&name);
                    results.add(name, outcome);
                }
                ("fail", None) => {
                    failed_packages.insert(package);
                }
                _ => {}
            }
        }
        line.clear();
    }

    for name in unfinished {
        packages_with_failures.insert(name.package.clone());
        results.add(name, Outcome::Fail);
    }
    if let Some(package) = failed_packages.difference(&packages_with_failures).next() {
        return Err(Error::Package(package.clone()));
    }
    if results.is_empty() {
        return Err(Error::NoTest);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(events: &[&str]) -> Result<String, Error> {
        Ok(read(events.join("\n").as_bytes())?.to_jsonl())
    }

    #[test]
    fn tests_and_subtests_are_read_and_everything_else_is_passed_over() {
        let record = run_of(&[
            "# what the build prints",
            r#"{"Action":"start","Package":"p"}"#,
            r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"run","Package":"p","Test":"TestA/one"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: \u2026\n"}"#,
            r#"{"Action":"skip","Package":"p","Test":"TestA/one","Elapsed":0.1}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pass","Package":"p"}"#,
        ]);
        assert_eq!(
            record.unwrap(),
            concat!(
                r#"{"package":"p","test":"TestA","result":"PASS"}"#,
                "\n",
                r#"{"package":"p","test":"TestA/one","result":"SKIP"}"#,
                "\n",
            )
        );
    }

    #[test]
    fn a_test_that_never_ended_failed() {
        let record = run_of(&[
            r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pause","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
        ]);
        assert_eq!(
            record.unwrap(),
            concat!(r#"{"package":"p","test":"TestA","result":"FAIL"}"#, "\n")
        );
    }

    #[test]
    fn a_package_that_failed_outside_its_tests_is_an_error() {
        let error = run_of(&[
            r#"{"Action":"run","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestA"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
        ]);
        assert!(matches!(error, Err(Error::Package(package)) if package == "p"));
    }

    #[test]
    fn output_without_a_test_is_an_error() {
        assert!(matches!(run_of(&["FAIL"]), Err(Error::NoTest)));
    }

    #[test]
    fn bytes_that_are_not_text_do_not_end_the_reading() {
        let output: &[u8] =
            b"\xff\xfe\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"TestA\"}\n";
        assert_eq!(read(output).unwrap().tally().to_string(), "1 passed, 0 failed, 0 skipped");
    }
}
