//! The modules of a crate do not form dependency cycles.
//!
//! A parent may use its children while they use it. Anything larger means that none of the modules
//! can be read, moved or changed without the others. Re-exported items count where they are
//! defined, unless they are re-exported with a glob.

mod modules;
mod paths;

use std::collections::{BTreeMap, BTreeSet};

use self::modules::{Graph, graphs};
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Vec<String> {
    let members = workspace.members();
    members.flat_map(|package| graphs(&workspace.sources(package))).flat_map(cycles).collect()
}

/// A sentence for each cycle of modules that is more than a parent with its children.
fn cycles(graph: Graph) -> Vec<String> {
    let mut findings: Vec<String> = graph.errors;
    for knot in knots(&graph.uses) {
        if knot.iter().any(|parent| is_parent_with_children(&graph.uses, &knot, parent)) {
            continue;
        }
        let circle = shortest_circle(&graph.uses, &knot).join(" → ");
        findings.push(format!("{}: {} modules in a circle: {circle}", graph.root, knot.len()));
    }
    findings
}

type Uses = BTreeMap<String, BTreeSet<String>>;

/// The sets of modules in which each reaches each other.
fn knots(uses: &Uses) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<String>> =
        uses.keys().map(|module| (module, reachable(uses, module))).collect();
    let mut knots = BTreeSet::new();
    for (module, targets) in &reached {
        let mutual = |other: &&String| reached.get(other).is_some_and(|all| all.contains(*module));
        let knot: BTreeSet<String> = targets.iter().filter(mutual).cloned().collect();
        if knot.len() > 1 {
            knots.insert(knot);
        }
    }
    knots.into_iter().collect()
}

/// The modules that `start` uses, directly or through others.
fn reachable(uses: &Uses, start: &String) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&String> = uses.get(start).into_iter().flatten().collect();
    while let Some(module) = waiting.pop() {
        if reached.insert(module.clone()) {
            waiting.extend(uses.get(module).into_iter().flatten());
        }
    }
    reached
}

/// Whether a cycle consists only of a parent and its children.
fn is_parent_with_children(uses: &Uses, knot: &BTreeSet<String>, parent: &String) -> bool {
    let others: BTreeSet<&String> = knot.iter().filter(|module| *module != parent).collect();
    let without_parent: Uses = others
        .iter()
        .map(|module| {
            let used = uses.get(*module).into_iter().flatten();
            ((*module).clone(), used.filter(|used| others.contains(used)).cloned().collect())
        })
        .collect();
    others.iter().all(|module| is_within(module, parent)) && knots(&without_parent).is_empty()
}

/// Whether a module is a child of another, or a child of its children.
fn is_within(module: &str, parent: &str) -> bool {
    module.strip_prefix(parent).is_some_and(|rest| rest.starts_with("::"))
}

/// The shortest path from a module of a cycle back to itself, if possible one that is not just from
/// a parent to its child and back.
fn shortest_circle(uses: &Uses, knot: &BTreeSet<String>) -> Vec<String> {
    let to_others = uses.iter().map(|(module, used)| {
        let others = used.iter().filter(|used| !is_within(module, used)).cloned().collect();
        (module.clone(), others)
    });
    let to_others: Uses = to_others.collect();
    let find = |uses| knot.iter().find_map(|start| circle_through(uses, knot, start));
    let uses = if find(&to_others).is_some() { &to_others } else { uses };
    let circles = knot.iter().filter_map(|start| circle_through(uses, knot, start));
    circles.min_by_key(Vec::len).unwrap_or_default()
}

fn circle_through(uses: &Uses, knot: &BTreeSet<String>, start: &String) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in uses.get(way.last()?)?.iter().filter(|next| knot.contains(*next)) {
                let mut way = way.clone();
                way.push(next.clone());
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{
        File,
        fixture::{file, package, workspace},
    };

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> =
            files.iter().map(|(path, text)| file(&format!("crates/p/{path}"), text)).collect();
        check(&workspace(vec![package("p", vec![])], files))
    }

    #[test]
    fn a_circle_is_named() {
        let found = findings(&[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "fn f() { crate::c::g() } pub struct B;"),
            ("src/c.rs", "use crate::{a::A, x::Y}; pub fn g() {}"),
        ]);
        let circle = "3 modules in a circle: crate::a → crate::b → crate::c → crate::a";
        assert_eq!(found, [format!("crates/p/src/lib.rs: {circle}")]);
    }

    #[test]
    fn a_parent_may_use_its_children_and_they_it() {
        let mut files = vec![
            ("src/lib.rs", "mod a;"),
            ("src/a.rs", "mod b; mod c; use self::{b::B, c::C}; pub struct A;"),
            ("src/a/b.rs", "use super::A; pub struct B;"),
            ("src/a/c.rs", "use crate::a::A; pub struct C;"),
        ];
        assert_eq!(findings(&files), Vec::<String>::new());
        // Two children that know each other are a circle of their own.
        files[2].1 = "use super::{A, c::C}; pub struct B;";
        files[3].1 = "use super::{A, b::B}; pub struct C;";
        let circle = "3 modules in a circle: crate::a::b → crate::a::c → crate::a::b";
        assert!(findings(&files)[0].ends_with(circle), "{:?}", findings(&files));
    }

    #[test]
    fn re_exports_count_where_they_are_defined() {
        let files = [
            ("src/lib.rs", "mod a; mod b; pub use self::a::A; pub(crate) use b::B as Other;"),
            ("src/a.rs", "use crate::Other; pub struct A;"),
            ("src/b.rs", "fn f(a: crate::A) {} pub struct B;"),
        ];
        assert_eq!(findings(&files).len(), 1);
    }

    #[test]
    fn re_exports_by_a_parent_are_no_use() {
        let files = [
            ("src/lib.rs", "mod a; pub use self::a::A; pub struct Root;"),
            ("src/a.rs", "mod b; pub use self::b::{B, C}; pub struct A(crate::Root);"),
            ("src/a/b.rs", "pub struct B(crate::A); pub struct C(super::A);"),
        ];
        assert_eq!(findings(&files), Vec::<String>::new());
    }

    #[test]
    fn tests_may_use_anything() {
        let files = [
            ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
            ("src/a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("src/b.rs", "use crate::a::A; pub struct B;"),
            ("src/tests.rs", "use crate::a::A;"),
        ];
        assert_eq!(findings(&files), Vec::<String>::new());
    }

    #[test]
    fn paths_in_macros_count() {
        let files = [
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "fn f() { log!(\"x\", crate::b::B) } pub struct A;"),
            ("src/b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert_eq!(findings(&files).len(), 1);
    }

    #[test]
    fn test_binaries_are_crates_of_their_own() {
        let files = [
            ("tests/it/main.rs", "mod a; mod b;"),
            ("tests/it/a.rs", "use crate::b::B; pub struct A;"),
            ("tests/it/b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert_eq!(findings(&files).len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_finding() {
        assert_eq!(findings(&[("src/lib.rs", "fn (")]).len(), 1);
    }
}
