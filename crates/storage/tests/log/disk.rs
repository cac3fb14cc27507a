//! A disk for SQLite that can fail: it loses what was not flushed, is full, or broken.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use stoa_testing::TestDatabase;
use tempfile::TempDir;

use crate::node_process::NodeProcess;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/log/disk.c");

/// The files that hold a database's data. The third one, `-shm`, is an index into the second, which
/// is rebuilt by the first process that opens the database.
const FILES: [&str; 2] = ["stoa.db", "stoa.db-wal"];

/// The disk that a database is on, as seen by one process.
pub(crate) struct Disk {
    folder: PathBuf,
    /// The folder with what the disk is certain to hold.
    durable: TempDir,
    /// The folder with the library that the process preloads, and with the marker files that it
    /// looks for.
    control: TempDir,
}

impl Disk {
    /// The disk of a database that is flushed and that nobody has open.
    pub(crate) fn of(database: &TestDatabase) -> Self {
        let folder = |prefix| TempDir::with_prefix(prefix).unwrap();
        let disk = Self {
            folder: database.folder().canonicalize().unwrap(),
            durable: folder("stoa-durable-"),
            control: folder("stoa-disk-"),
        };
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(disk.library()).arg(SOURCE);
        let status = compiler.args(["-ldl", "-lpthread"]).status().expect("a C compiler");
        assert!(status.success(), "{status}");
        disk.settle();
        disk
    }

    /// The process, with its database on this disk.
    pub(crate) fn under(&self, process: NodeProcess) -> NodeProcess {
        process
            .variable("LD_PRELOAD", text(&self.library()))
            .variable("DISK_FOLDER", text(&self.folder))
            .variable("DISK_DURABLE", text(self.durable.path()))
            .variable("DISK_FULL", text(&self.control.path().join("full")))
            .variable("DISK_BROKEN", text(&self.control.path().join("broken")))
    }

    /// Removes everything that was not flushed from the database's files, which no process has
    /// open.
    pub(crate) fn lose_power(&self) {
        for name in FILES {
            let file = self.folder.join(name);
            // A file that was never flushed may or may not exist.
            let _ = fs::remove_file(&file);
            let _ = fs::copy(self.durable.path().join(name), &file);
        }
        let _ = fs::remove_file(self.folder.join("stoa.db-shm"));
    }

    /// Marks the current contents of the database's files as flushed.
    pub(crate) fn settle(&self) {
        for name in FILES {
            let file = self.durable.path().join(name);
            let _ = fs::remove_file(&file);
            let _ = fs::copy(self.folder.join(name), &file);
        }
    }

    /// Sets whether the disk has space left.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.set("full", is_full);
    }

    /// Sets whether flushing fails.
    pub(crate) fn set_broken(&self, is_broken: bool) {
        self.set("broken", is_broken);
    }

    fn set(&self, sign: &str, is_set: bool) {
        let sign = self.control.path().join(sign);
        if is_set {
            fs::write(sign, "").unwrap();
        } else {
            fs::remove_file(sign).unwrap();
        }
    }

    fn library(&self) -> PathBuf {
        self.control.path().join("disk.so")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
