//! The input of the checks: the packages from `cargo metadata`, and the project's files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    process::Runner,
};

/// Folders without files of the project.
const SKIPPED: &[&str] = &[".git", "node_modules", "stoa-data", "target"];

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// The project's own packages and all that they depend on.
    pub(crate) packages: Vec<Package>,
    /// Every text file of the project.
    pub(crate) files: Vec<File>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Where it was downloaded from; none for the project's own.
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) rename: Option<String>,
    /// None for one of the package itself.
    pub(crate) kind: Option<Kind>,
    pub(crate) features: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Dev,
    Build,
}

/// A text file of the project.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// From the project's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Workspace {
    pub(crate) fn load(runner: &Runner) -> Result<Self> {
        let mut command = Command::new("cargo");
        command.args(["metadata", "--format-version", "1", "--locked", "--quiet"]);
        let metadata: Metadata = serde_json::from_str(&runner.output_of(command)?)?;
        let root = metadata.workspace_root;
        let mut files = Vec::new();
        collect(&root, &root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { root, target: metadata.target_directory, packages: metadata.packages, files })
    }

    /// The project's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.source.is_none())
    }

    /// The Rust files of a package, its tests and benchmarks among them.
    pub(crate) fn sources(&self, package: &Package) -> Vec<&File> {
        let folder = package.manifest_path.parent().unwrap_or(&self.root);
        let folder = relative(&self.root, folder);
        self.files
            .iter()
            .filter(|file| file.is_rust() && self.package_folder(&file.path) == folder)
            .collect()
    }

    /// The nearest folder above `path` that holds a package.
    fn package_folder<'a>(&self, path: &'a str) -> &'a str {
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            folder = parent;
            let manifest = format!("{folder}/Cargo.toml");
            if self.files.iter().any(|file| file.path == manifest) {
                return folder;
            }
        }
        ""
    }
}

impl Dependency {
    /// The name by which the code of the package knows it.
    pub(crate) fn crate_name(&self) -> String {
        self.rename.as_ref().unwrap_or(&self.name).replace('-', "_")
    }
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::at(folder))? {
        let entry = entry.map_err(Error::at(folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::at(&path))?;
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                collect(root, &path, files)?;
            }
        } else if kind.is_file()
            && let Ok(text) = String::from_utf8(fs::read(&path).map_err(Error::at(&path))?)
        {
            files.push(File { path: relative(root, &path), text });
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

/// Inputs for the tests of the checks.
#[cfg(test)]
pub(crate) mod fixture {
    use super::{Dependency, File, Kind, Package, PathBuf, Workspace};

    pub(crate) fn package(name: &str, dependencies: Vec<Dependency>) -> Package {
        Package {
            name: name.into(),
            dependencies,
            source: None,
            manifest_path: format!("/project/crates/{name}/Cargo.toml").into(),
        }
    }

    pub(crate) fn dependency(name: &str) -> Dependency {
        Dependency { name: name.into(), rename: None, kind: None, features: vec![] }
    }

    pub(crate) fn dev_dependency(name: &str) -> Dependency {
        Dependency { kind: Some(Kind::Dev), ..dependency(name) }
    }

    pub(crate) fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    pub(crate) fn workspace(packages: Vec<Package>, mut files: Vec<File>) -> Workspace {
        for package in &packages {
            files.push(file(&format!("crates/{}/Cargo.toml", package.name), ""));
        }
        Workspace {
            root: PathBuf::from("/project"),
            target: PathBuf::from("/project/target"),
            packages,
            files,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{file, package, workspace};

    #[test]
    fn a_file_belongs_to_the_nearest_package_above_it() {
        let workspace = workspace(
            vec![package("outer", vec![]), package("outer/inner", vec![])],
            vec![
                file("crates/outer/src/lib.rs", ""),
                file("crates/outer/inner/src/lib.rs", ""),
                file("crates/outer/inner/notes.md", ""),
            ],
        );
        let paths = |index: usize| -> Vec<_> {
            let sources = workspace.sources(&workspace.packages[index]);
            sources.iter().map(|file| file.path.clone()).collect()
        };
        assert_eq!(paths(0), ["crates/outer/src/lib.rs"]);
        assert_eq!(paths(1), ["crates/outer/inner/src/lib.rs"]);
    }
}
