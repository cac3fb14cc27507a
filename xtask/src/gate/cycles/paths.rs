//! The paths of its own crate that a file names.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// A path from the root of a crate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) const fn root() -> Self {
        Self(Vec::new())
    }

    /// Its last part.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("crate", String::as_str)
    }

    pub(super) fn join(&self, rest: &[String]) -> Self {
        Self([&self.0, rest].concat())
    }

    /// Its longest prefix that is a module by `is_module`, and the rest.
    pub(super) fn split(&self, is_module: impl Fn(&Self) -> bool) -> Option<(Self, &[String])> {
        (0..=self.0.len()).rev().find_map(|length| {
            let module = Self(self.0[..length].to_vec());
            is_module(&module).then(|| (module, &self.0[length..]))
        })
    }

    fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("crate")?;
        self.0.iter().try_for_each(|part| write!(f, "::{part}"))
    }
}

/// The contents of a module's file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The modules that have files of their own.
    pub(super) children: Vec<Path>,
    /// The paths used, except those that are only re-exported.
    pub(super) uses: BTreeSet<Path>,
    /// What the module calls otherwise than it is called where it is defined: what it imports or
    /// exports again.
    pub(super) names: HashMap<String, Path>,
}

/// Looks through the text of `module`.
pub(super) fn find(module: &Path, text: &str) -> syn::Result<Found> {
    let file = syn::parse_file(text)?;
    let mut finder = Finder {
        module: module.clone(),
        depth: 0,
        own: names(&file.items),
        found: Found::default(),
    };
    finder.visit_file(&file);
    Ok(finder.found)
}

struct Finder {
    /// The module, and the one within its file that is being looked through.
    module: Path,
    /// How many modules within the file that is.
    depth: usize,
    /// The modules that are declared here, by which a path may begin.
    own: BTreeSet<String>,
    found: Found,
}

/// The names of the modules among `items`.
fn names(items: &[Item]) -> BTreeSet<String> {
    let modules = items.iter().filter_map(|item| match item {
        Item::Mod(module) if !is_for_tests(&module.attrs) => Some(module.ident.to_string()),
        _ => None,
    });
    modules.collect()
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                list.tokens.clone().into_iter().any(|token| token.to_string() == "test")
            })
    })
}

impl Finder {
    /// The path from the crate's root, if it is one within the crate.
    fn absolute(&self, parts: &[String]) -> Option<Path> {
        let (first, mut rest) = parts.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Path::root(),
            "self" => self.module.clone(),
            "super" => self.module.parent(),
            own if self.own.contains(own) => self.module.join(&parts[..1]),
            _ => return None,
        };
        while let [next, others @ ..] = rest
            && next == "super"
        {
            base = base.parent();
            rest = others;
        }
        Some(base.join(rest))
    }

    fn note(&mut self, parts: &[String]) {
        if let Some(path) = self.absolute(parts) {
            self.found.uses.insert(path);
        }
    }

    fn note_import(&mut self, tree: &UseTree, before: &mut Vec<String>, is_export: bool) {
        let (name, part) = match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_import(&path.tree, before, is_export);
                before.pop();
                return;
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_import(tree, before, is_export);
                }
                return;
            }
            UseTree::Name(name) => (Some(name.ident.to_string()), Some(name.ident.to_string())),
            UseTree::Rename(name) => (Some(name.rename.to_string()), Some(name.ident.to_string())),
            UseTree::Glob(_) => (None, None),
        };
        let mut parts = before.clone();
        parts.extend(part.filter(|part| part != "self"));
        if let Some(path) = self.absolute(&parts) {
            if let Some(name) = name.filter(|_| self.depth == 0) {
                self.found.names.insert(name, path.clone());
            }
            if !is_export {
                self.found.uses.insert(path);
            }
        }
    }

    /// Paths among the tokens of a macro, which are not taken apart otherwise.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut parts: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) if parts.is_empty() || colons == 2 => {
                    parts.push(word.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !parts.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.note_tokens(group.stream()),
                TokenTree::Ident(word) => {
                    self.note(&parts);
                    parts = vec![word.to_string()];
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            self.note(&parts);
            parts.clear();
            colons = 0;
        }
        self.note(&parts);
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = [item.ident.to_string()];
        let Some((_, items)) = &item.content else {
            self.found.children.push(self.module.join(&name));
            return;
        };
        let outer = (self.module.clone(), std::mem::replace(&mut self.own, names(items)));
        self.module = self.module.join(&name);
        self.depth += 1;
        for item in items {
            self.visit_item(item);
        }
        self.depth -= 1;
        (self.module, self.own) = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_export = !matches!(item.vis, Visibility::Inherited);
        self.note_import(&item.tree, &mut Vec::new(), is_export);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 && path.leading_colon.is_none() {
            self.note(&parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast Macro) {
        self.note_tokens(invoked.tokens.clone());
        visit::visit_macro(self, invoked);
    }
}
