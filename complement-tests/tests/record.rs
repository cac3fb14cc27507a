//! `record` as it is called: what it prints, writes and exits with.

#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

/// A folder of recorded runs that goes away with the test.
struct Recorded(PathBuf);

impl Recorded {
    fn none(test: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("record-{test}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.join(name)).ok()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Nothing is there when the test never wrote a record.
        drop(fs::remove_dir_all(&self.0));
    }
}

struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
}

fn record(folder: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut program = Command::new(env!("CARGO_BIN_EXE_record"))
        .args(arguments)
        .arg("--results")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let process::Output { status, stdout, stderr } = program.wait_with_output().unwrap();
    Ended {
        code: status.code(),
        output: String::from_utf8(stdout).unwrap(),
        errors: String::from_utf8(stderr).unwrap(),
    }
}

/// What `go test -json` says of tests that ended so.
fn go_test(tests: &[(&str, &str)]) -> String {
    tests
        .iter()
        .map(|(test, action)| {
            format!(r#"{{"Action":"{action}","Package":"example/csapi","Test":"{test}"}}"#) + "\n"
        })
        .collect()
}

#[test]
fn the_first_run_is_counted_and_leaves_nothing_behind() {
    let recorded = Recorded::none("first");
    let run = go_test(&[("TestA", "pass"), ("TestB", "fail"), ("TestC", "skip")]);
    let ended = record(&recorded.0, &["sqlite"], &run);
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.output, "1 passed, 1 failed, 1 skipped\n");
    assert_eq!(recorded.file("sqlite.jsonl"), None);
}

#[test]
fn each_database_has_its_record() {
    let recorded = Recorded::none("databases");
    record(
        &recorded.0,
        &["sqlite", "--write", "0a1b2c3"],
        &go_test(&[("TestB", "fail"), ("TestA", "pass")]),
    );
    record(&recorded.0, &["postgres", "--write", "0a1b2c3"], &go_test(&[("TestA", "skip")]));
    assert_eq!(
        recorded.file("sqlite.jsonl").unwrap(),
        concat!(
            r#"{"package":"example/csapi","test":"TestA","result":"PASS"}"#,
            "\n",
            r#"{"package":"example/csapi","test":"TestB","result":"FAIL"}"#,
            "\n",
        )
    );
    assert_eq!(
        recorded.file("postgres.jsonl").unwrap(),
        concat!(r#"{"package":"example/csapi","test":"TestA","result":"SKIP"}"#, "\n")
    );
}

#[test]
fn every_test_that_passed_and_does_not_now_is_named() {
    let recorded = Recorded::none("lost");
    let before =
        [("TestGone", "pass"), ("TestKept", "pass"), ("TestLost", "pass"), ("TestNever", "fail")];
    assert_eq!(
        record(&recorded.0, &["sqlite", "--write", "0a1b2c3"], &go_test(&before)).code,
        Some(0)
    );

    let now = [("TestKept", "pass"), ("TestLost", "fail"), ("TestNever", "fail")];
    let ended = record(&recorded.0, &["sqlite"], &go_test(&now));
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.output,
        "passed before, not run now: example/csapi TestGone\n\
         passed before, now FAIL: example/csapi TestLost\n\
         1 passed, 2 failed, 0 skipped\n"
    );
    // Without --write the record stands, so the loss is named again.
    assert_eq!(record(&recorded.0, &["sqlite"], &go_test(&now)).code, Some(1));
}

#[test]
fn a_run_with_losses_is_named_before_it_is_recorded() {
    let recorded = Recorded::none("write");
    record(&recorded.0, &["sqlite", "--write", "0a1b2c3"], &go_test(&[("TestA", "pass")]));
    let worse = go_test(&[("TestA", "fail")]);
    let ended = record(&recorded.0, &["sqlite", "--write", "0a1b2c3"], &worse);
    assert_eq!(ended.code, Some(1));
    assert!(ended.output.starts_with("passed before, now FAIL: example/csapi TestA\n"));
    assert_eq!(record(&recorded.0, &["sqlite"], &worse).code, Some(0));
}

#[test]
fn output_that_is_no_whole_run_is_not_recorded() {
    let recorded = Recorded::none("broken");
    let run = go_test(&[("TestA", "pass")]);
    record(&recorded.0, &["sqlite", "--write", "0a1b2c3"], &run);
    let before = recorded.file("sqlite.jsonl").unwrap();
    for broken in
        ["", "not of go test\n", &(run + r#"{"Action":"fail","Package":"example/csapi"}"#)]
    {
        let ended = record(&recorded.0, &["sqlite", "--write", "0a1b2c3"], broken);
        assert_eq!(ended.code, Some(2), "{broken}");
        assert!(ended.errors.starts_with("error: "), "{}", ended.errors);
    }
    assert_eq!(recorded.file("sqlite.jsonl").unwrap(), before);
}
