//! No circle between files: whoever reads a file can read those that it needs first.
//!
//! A file depends on each file of its crate that a path in it leads to (`crate::`, `self::`, `super::`), in
//! imports and in bodies. What leads from a module to its own parts doesn't count, since it is made of them.
//! Neither do tests inside files, what macros are given, and a `pub use`, which passes a name on without
//! needing it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// Circles that are there, by crate. The table may only become shorter.
const KNOWN: &[(&str, &[&str])] = &[(
    "services",
    &[
        "mare::hub::asking, mare::hub::hearing, mare::hub::looks, mare::hub::owner, mare::hub::pump, \
             mare::hub::reading, mare::hub::shelf, mare::hub::state, mare::hub::topic, mare::hub::watcher",
    ],
)];

/// A module as the path to it, from the crate's root.
type Module = Vec<String>;

/// The modules of a crate that are files, each with its source.
fn files(src: &Path) -> BTreeMap<Module, syn::File> {
    let mut found = BTreeMap::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = module(path.strip_prefix(src).expect("it is below"));
                let text = fs::read_to_string(&path).expect("the file can be read");
                let file = syn::parse_file(&text).expect("it compiles");
                found.insert(module, file);
            }
        }
    }
    found.retain(|module, _| !module.iter().any(|name| name == "tests"));
    found
}

/// Which module a file is, by its path below `src`.
fn module(file: &Path) -> Module {
    let mut names: Module = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib")) {
        names.pop();
    }
    names
}

/// The paths of one file, each from the crate's root.
struct Paths {
    /// Where the visitor stands: the file's module, and inline ones in it.
    at: Module,
    found: Vec<Module>,
}

impl Paths {
    fn take(&mut self, path: &[String]) {
        let mut base = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.at.clone(),
            _ => return,
        };
        for name in path {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name.to_owned()),
            }
        }
        self.found.push(base);
    }

    fn take_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.take_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.take(&with(&name.ident)),
            UseTree::Rename(name) => self.take(&with(&name.ident)),
            UseTree::Glob(_) => self.take(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.at.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.at.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if matches!(item.vis, Visibility::Inherited) {
            self.take_tree(&[], &item.tree);
        }
    }

    // `pub(super)` is a path too, and needs nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.take(&names);
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|condition| condition.is_ident("test"))
    })
}

/// The circles of a crate, each as the paths of its modules in alphabetical order.
fn circles(files: &BTreeMap<Module, syn::File>) -> Vec<String> {
    let modules: Vec<&Module> = files.keys().collect();
    let mut graph = DiGraphMap::<usize, ()>::new();
    for (from, (module, file)) in files.iter().enumerate() {
        let mut paths = Paths {
            at: module.clone(),
            found: Vec::new(),
        };
        paths.visit_file(file);
        for path in paths.found {
            // The longest beginning that is a file; what follows is an item in it.
            let to = (0..=path.len())
                .rev()
                .find_map(|n| modules.iter().position(|module| module[..] == path[..n]));
            if let Some(to) = to.filter(|to| !modules[*to].starts_with(module)) {
                graph.add_edge(from, to, ());
            }
        }
    }
    let mut found: Vec<String> = tarjan_scc(&graph)
        .into_iter()
        .filter(|circle| circle.len() > 1)
        .map(|circle| {
            let mut names: Vec<_> = circle.iter().map(|n| modules[*n].join("::")).collect();
            names.sort();
            names.join(", ")
        })
        .collect();
    found.sort();
    found
}

/// The sources of each crate of the product.
fn crates() -> Vec<(String, PathBuf)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let within = |folder: &str| {
        let entries = fs::read_dir(top.join(folder)).expect("the folder is there");
        entries.map(|entry| entry.expect("it can be read").path())
    };
    let folders = within("crates").chain(within("adapters"));
    let folders = folders.chain([top.join("app")]);
    folders
        .map(|folder| {
            let name = folder.file_name().expect("it has a name").to_string_lossy();
            (name.into_owned(), folder.join("src"))
        })
        .collect()
}

#[test]
fn no_circle_between_files() {
    let mut found = BTreeMap::new();
    for (name, src) in crates() {
        let circles = circles(&files(&src));
        if !circles.is_empty() {
            found.insert(name, circles);
        }
    }
    let known: BTreeMap<_, Vec<_>> = KNOWN
        .iter()
        .map(|(name, circles)| {
            (
                (*name).to_owned(),
                circles.iter().map(|c| (*c).to_owned()).collect(),
            )
        })
        .collect();
    assert_eq!(
        found, known,
        "circles that are there, and the table of those that are known"
    );
}

#[test]
fn a_planted_circle_is_found() {
    let file = |text: &str| syn::parse_str::<syn::File>(text).expect("it parses");
    let planted = |inner: &str| {
        BTreeMap::from([
            (vec![], file("mod a; mod b; pub use b::B;")),
            (
                vec!["a".to_owned()],
                file("use super::b::{self, B}; pub struct A(B);"),
            ),
            (vec!["b".to_owned()], file(inner)),
        ])
    };
    let straight = "pub struct B; #[cfg(test)] mod inner { use crate::a::A; }";
    assert_eq!(circles(&planted(straight)), Vec::<String>::new());
    for back in [
        "use crate::a::A; pub struct B(Box<A>);",
        "pub struct B; fn f() { let _: Option<super::a::A> = None; }",
        "pub struct B; mod inner { use super::super::a; }",
        "pub struct B; use {crate::a as other};",
    ] {
        assert_eq!(circles(&planted(back)), ["a, b"], "{back}");
    }
}
