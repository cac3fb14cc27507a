//! The modules of a crate, and which of them use which.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::paths::{Found, Path, find};
use crate::workspace::File;

/// The modules of one crate. Each file is one; what stands in a file, tests aside, belongs to it.
pub(super) struct Graph {
    /// The file that the crate begins with.
    pub(super) root: String,
    /// By module, the modules that it uses.
    pub(super) uses: BTreeMap<String, BTreeSet<String>>,
    /// What could not be read.
    pub(super) errors: Vec<String>,
}

/// The graphs of all crates among the files of a package: library, programs, tests.
pub(super) fn graphs(files: &[&File]) -> Vec<Graph> {
    files.iter().filter(|file| is_root(&file.path)).map(|root| graph(root, files)).collect()
}

fn is_root(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (name, folder) = (parts.next(), parts.next());
    match name {
        Some("lib.rs") => folder == Some("src"),
        Some("main.rs") => true,
        _ => folder == Some("tests") || folder == Some("benches"),
    }
}

fn graph(root: &File, files: &[&File]) -> Graph {
    let mut graph = Graph { root: root.path.clone(), uses: BTreeMap::new(), errors: Vec::new() };
    let by_path: HashMap<&str, &File> =
        files.iter().map(|file| (file.path.as_str(), *file)).collect();
    let mut modules: BTreeMap<Path, Found> = BTreeMap::new();
    let crate_folder = root.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut waiting = vec![(Path::root(), root, crate_folder.to_owned())];
    while let Some((module, file, folder)) = waiting.pop() {
        let found = match find(&module, &file.text) {
            Ok(found) => found,
            Err(error) => {
                graph.errors.push(format!("{}: {error}", file.path));
                continue;
            }
        };
        for child in &found.children {
            let name = child.name();
            let path = format!("{folder}/{name}.rs");
            if let Some(file) = by_path.get(path.as_str()) {
                waiting.push((child.clone(), file, format!("{folder}/{name}")));
            }
        }
        modules.insert(module, found);
    }
    for (module, found) in &modules {
        let used = found.uses.iter().filter_map(|path| home(&modules, path, 0));
        let used = used.filter(|used| *used != module).map(ToString::to_string).collect();
        graph.uses.insert(module.to_string(), used);
    }
    graph
}

/// How often something is exported again at most.
const EXPORTS: usize = 8;

/// The module in which what `path` names is defined.
fn home<'a>(modules: &'a BTreeMap<Path, Found>, path: &Path, exports: usize) -> Option<&'a Path> {
    let (module, rest) = path.split(|module| modules.contains_key(module))?;
    let (module, found) = modules.get_key_value(&module)?;
    let exported = rest.first().and_then(|name| found.names.get(name));
    match exported {
        Some(exported) if exports < EXPORTS => {
            home(modules, &exported.join(&rest[1..]), exports + 1).or(Some(module))
        }
        _ => Some(module),
    }
}
