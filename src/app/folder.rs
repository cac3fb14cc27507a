use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use stoa_config::DatabaseUrl;

/// The folder with this server's files, and the lock on it: one server at a time.
///
/// The lock is one of the operating system, which releases it however the process ends.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Locked for as long as they are open.
    _locks: Vec<File>,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another server uses it.
    #[error(
        "another Stoa is running on `{}`. Stop it first, or give this one a `data_dir` and a \
         database of its own", .0.display()
    )]
    Taken(PathBuf),
    /// The folder, or a file in it, cannot be created.
    #[error("`{}` cannot be used: {error}", path.display())]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl DataFolder {
    /// Creates the folder if it does not exist, and locks it and the file of a SQLite database,
    /// which may be elsewhere.
    pub fn take(path: &Path, database: &DatabaseUrl) -> Result<Self, FolderError> {
        make(path)?;
        let mut locks = vec![lock(&path.join("stoa.lock"), path)?];
        if let DatabaseUrl::Sqlite(file) = database {
            let folder = file.parent().unwrap_or(Path::new(""));
            make(folder)?;
            let mut name = file.as_os_str().to_owned();
            name.push(".lock");
            locks.push(lock(Path::new(&name), file)?);
        }
        Ok(Self { path: path.to_owned(), _locks: locks })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates a folder that only its owner can read.
fn make(path: &Path) -> Result<(), FolderError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let unusable = |error| FolderError::Unusable { path: path.to_owned(), error };
    if path.is_file() {
        return Err(unusable(io::Error::other("it is a file, and must be a folder")));
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(unusable)
}

fn lock(file: &Path, claimed: &Path) -> Result<File, FolderError> {
    let unusable = |error| FolderError::Unusable { path: file.to_owned(), error };
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(file);
    let opened = opened.map_err(unusable)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(FolderError::Taken(claimed.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_folder_has_one_server_at_a_time() {
        let place = TempDir::new().expect("a folder");
        let path = place.path().join("new/folder");
        let database = DatabaseUrl::Sqlite(path.join("stoa.db"));
        let first = DataFolder::take(&path, &database).expect("a new folder");
        let second = DataFolder::take(&path, &database).expect_err("taken");
        assert!(second.to_string().contains("another Stoa is running"), "{second}");
        drop(first);
        DataFolder::take(&path, &database).expect("free again");
    }

    #[test]
    fn a_database_has_one_server_at_a_time() {
        let place = TempDir::new().expect("a folder");
        let database = DatabaseUrl::Sqlite(place.path().join("shared.db"));
        let _first = DataFolder::take(&place.path().join("one"), &database).expect("free");
        let second = DataFolder::take(&place.path().join("two"), &database);
        assert!(matches!(second, Err(FolderError::Taken(_))));
    }
}
