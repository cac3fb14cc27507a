//! Checks the files in the repository that are generated from the types.
//!
//! With `UPDATE_GENERATED=1` in the environment they are written instead of compared.

use std::{env, fs, io, path::Path};

use serde_json::Value;

/// Compares a file with its expected content, both after `read`.
fn compare<T: PartialEq>(path: &str, generated: &str, read: fn(&str) -> T) -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("UPDATE_GENERATED").is_some() {
        return fs::write(path, generated);
    }
    assert!(
        read(&fs::read_to_string(&path)?) == read(generated),
        "{} does not follow from the types any more; write it anew with \
         `UPDATE_GENERATED=1 cargo test -p stoa-config --test generated`",
        path.display()
    );
    Ok(())
}

#[test]
fn reference() -> io::Result<()> {
    compare("../docs/configuration.md", &stoa_config::reference_markdown(), str::to_owned)
}

#[test]
fn sample() -> io::Result<()> {
    compare("stoa.sample.toml", &stoa_config::sample_toml(), str::to_owned)
}

/// Compared as values, since the order of keys in the text depends on how `serde_json` was built.
#[test]
fn schema() -> io::Result<()> {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    compare("stoa.schema.json", &stoa_config::json_schema(), read)
}
