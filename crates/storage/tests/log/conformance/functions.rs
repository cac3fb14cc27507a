//! Every public function that talks to a database is called in this folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::rust_source::RustSource;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// The Rust files of a folder of this crate, each with its name.
pub(super) fn files(folder: &str) -> Vec<(String, RustSource)> {
    let folder = Path::new(CRATE).join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files
        .into_iter()
        .map(|path| (name(&path), RustSource::parse(&fs::read_to_string(&path).unwrap())))
        .collect()
}

/// The public asynchronous functions of a file, each with whether it is in an `impl`.
fn functions(source: &RustSource) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for line in source.code.lines() {
        let Some(rest) = line.trim_start().strip_prefix("pub async fn ") else { continue };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.push((name, line.starts_with(' ')));
    }
    found
}

/// What a call of the function looks like in a test.
fn call(module: &str, (name, in_impl): &(String, bool)) -> Vec<String> {
    if *in_impl {
        vec![format!(".{name}("), format!("::{name}(")]
    } else {
        vec![format!("{module}::{name}(")]
    }
}

fn missing(module: &str, functions: Vec<(String, bool)>, tests: &RustSource) -> Vec<String> {
    let is_called = |function: &(String, bool)| {
        call(module, function).iter().any(|call| calls(&tests.code, call))
    };
    let missing = functions.into_iter().filter(|function| !is_called(function));
    missing.map(|(name, _)| format!("{module}::{name}")).collect()
}

/// Whether the code contains the call as a whole word: `devices::find(` must not match
/// `vices::find(`.
fn calls(code: &str, call: &str) -> bool {
    code.match_indices(call).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !call.starts_with(char::is_alphabetic)
            || before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[test]
fn every_function_of_the_repositories_and_the_log_is_tested() {
    let tests = files("tests/log/conformance");
    let tests_of = |module: &str| {
        let found = tests.iter().find(|(name, _)| name == module);
        found.map_or_else(|| panic!("no tests of {module}"), |(_, source)| source)
    };
    let (mut count, mut untested) = (0, Vec::new());
    for (module, source) in files("src/repo") {
        let functions = functions(&source);
        count += functions.len();
        untested.extend(missing(&module, functions, tests_of(&module)));
    }
    for folder in ["src/log", "src/log/audit"] {
        for (_, source) in files(folder) {
            let functions = functions(&source);
            count += functions.len();
            untested.extend(missing("log", functions, tests_of("log")));
        }
    }
    assert!(count > 90, "the scan finds only {count} functions");
    assert_eq!(untested, Vec::<String>::new(), "functions without a test in tests/log/conformance");
}

#[test]
fn a_function_without_a_test_is_found() {
    let source = RustSource::parse(
        "pub async fn find() {}\n// pub async fn not() {}\npub async fn list() {}\n\
         impl A {\n    pub async fn take(&self) {}\n    pub async fn give() {}\n}\n",
    );
    let functions = functions(&source);
    assert_eq!(functions.len(), 4);
    let tests = RustSource::parse(
        "devices::find(1); other_devices::list(); // devices::list()\n\
         let s = \"devices::list(\"; a.take();",
    );
    assert_eq!(missing("devices", functions, &tests), ["devices::list", "devices::give"]);
}
