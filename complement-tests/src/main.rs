//! Compares a run of Complement with the recorded one for the same database.
//!
//! The output of `go test -json` comes in on standard input. Every test that passed in the
//! recorded run and does not pass now is named, and the last line counts the run. With `--write`
//! the run takes the place of the recorded one, after the comparison, and the commit of Stoa that was
//! tested is recorded next to it.

mod go_test;
mod results;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};

use results::Results;

/// Compare the output of `go test -json` with the recorded run.
#[derive(Debug, Parser)]
#[command(name = "record")]
struct Arguments {
    /// The database of the image that was tested.
    database: Database,
    /// Record this run, of a Stoa built from this commit.
    #[arg(long, value_name = "COMMIT")]
    write: Option<String>,
    /// The folder of the recorded runs.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    fn file_name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite.jsonl",
            Self::Postgres => "postgres.jsonl",
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Run(#[from] go_test::Error),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {source}")]
    Record { path: PathBuf, line: usize, source: serde_json::Error },
}

fn main() -> ExitCode {
    match record(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether everything that passed in the recorded run passes still.
fn record(arguments: &Arguments) -> Result<bool, Error> {
    let path = arguments.results.join(arguments.database.file_name());
    let recorded = read(&path)?;
    let run = go_test::read(io::stdin().lock())?;

    let lost = recorded.lost_in(&run);
    for (test, now) in &lost {
        match now {
            Some(outcome) => println!("passed before, now {outcome}: {test}"),
            None => println!("passed before, not run now: {test}"),
        }
    }
    if let Some(commit) = &arguments.write {
        write(&path, &run.to_jsonl())?;
        write(&path.with_extension("commit"), &format!("{commit}\n"))?;
    }
    println!("{}", run.tally());
    Ok(lost.is_empty())
}

/// The recorded run, which is empty before the first one.
fn read(path: &Path) -> Result<Results, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(Error::File { path: path.to_owned(), source }),
    };
    Results::from_jsonl(&text).map_err(|(line, source)| Error::Record {
        path: path.to_owned(),
        line,
        source,
    })
}

/// Replaces a file in one step, so that an interruption leaves the old one.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let file = |path: &Path, source| Error::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| file(folder, source))?;
    }
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, text).map_err(|source| file(&unfinished, source))?;
    fs::rename(&unfinished, path).map_err(|source| file(path, source))
}
