//! The files of a module know each other in one direction only, read from the sources.
//!
//! Files that know each other in a circle can only be read, tested and changed together. Who knows whom
//! is told by the imports and the paths in code. Each folder is looked at by itself: its files, its
//! folders as one each, and what its own `mod.rs` holds. That a parent declares its children and hands
//! their names on is no knowledge of them; what it calls of theirs is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::modules::{Source, sources};

/// The path of a module below the crate, such as `["gate", "tokens"]`.
type Path = Vec<String>;

/// A name that a `use` brings in.
struct Import {
    path: Path,
    /// What it is called here.
    name: String,
    is_public: bool,
}

/// One file.
struct Module {
    imports: Vec<Import>,
    /// The paths in its code besides its imports.
    paths: Vec<Path>,
    children: BTreeSet<String>,
}

struct Modules(BTreeMap<Path, Module>);

impl Modules {
    fn read(sources: &[Source]) -> Self {
        let mut modules: BTreeMap<Path, Module> = sources
            .iter()
            .map(|source| {
                let mut path = segments(source.path.trim_end_matches(".rs"), "/");
                if path.last().is_some_and(|last| last == "mod" || last == "lib") {
                    path.pop();
                }
                let (imports, paths) = named(&source.code);
                (path, Module { imports, paths, children: BTreeSet::new() })
            })
            .collect();
        let paths: Vec<Path> = modules.keys().cloned().collect();
        for path in paths {
            if let Some((name, parent)) = path.split_last()
                && let Some(parent) = modules.get_mut(parent)
            {
                parent.children.insert(name.clone());
            }
        }
        Self(modules)
    }

    /// The path from the crate on, where it is one of ours.
    fn absolute(&self, path: &[String], at: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([at, rest].concat()),
            "super" => {
                let mut at = at.to_vec();
                let mut rest = path;
                while let [first, others @ ..] = rest
                    && first == "super"
                {
                    at.pop();
                    rest = others;
                }
                Some([at, rest.to_vec()].concat())
            }
            child => self.0.get(at)?.children.contains(child).then(|| [at, path].concat()),
        }
    }

    /// The file in which the name at the end of the path is at home, also when others hand it on.
    fn home(&self, path: &[String], handed_on: usize) -> Path {
        let mut at = Path::new();
        for (place, name) in path.iter().enumerate() {
            let Some(module) = self.0.get(&at) else { break };
            if module.children.contains(name) {
                at.push(name.clone());
                continue;
            }
            let import = module.imports.iter().find(|import| import.name == *name);
            // Two that hand a name on to each other have it from nowhere.
            return match import.filter(|_| handed_on < 8).and_then(|import| self.absolute(&import.path, &at))
            {
                Some(from) => self.home(&[&from, &path[place + 1..]].concat(), handed_on + 1),
                None => at,
            };
        }
        at
    }

    /// Which file knows which.
    fn knowledge(&self) -> BTreeSet<(Path, Path)> {
        let mut knowledge = BTreeSet::new();
        for (at, module) in &self.0 {
            let hands_on = |import: &Import| import.is_public && !module.children.is_empty();
            let imported = module.imports.iter().filter(|import| !hands_on(import));
            for path in imported.map(|import| &import.path).chain(&module.paths) {
                if let Some(path) = self.absolute(path, at) {
                    knowledge.insert((at.clone(), self.home(&path, 0)));
                }
            }
        }
        knowledge
    }

    /// The circles of each folder, as `folder: a → b → a`; the shortest through each of its files.
    fn circles(&self) -> BTreeSet<String> {
        let knowledge = self.knowledge();
        let mut circles = BTreeSet::new();
        for folder in self.0.keys().filter(|path| !self.0[*path].children.is_empty()) {
            let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (who, whom) in &knowledge {
                if let (Some(who), Some(whom)) = (part_of(folder, who), part_of(folder, whom))
                    && who != whom
                {
                    known.entry(who).or_default().insert(whom);
                }
            }
            for start in known.keys() {
                if let Some(mut circle) = shortest_circle(start, &known) {
                    let first = circle.iter().enumerate().min_by_key(|(_, name)| *name).unwrap().0;
                    circle.rotate_left(first);
                    circle.push(circle[0]);
                    circles.insert(format!("{}: {}", folder.join("/"), circle.join(" → ")));
                }
            }
        }
        circles
    }
}

/// The part of a folder to which a file belongs, if it lies in it.
fn part_of<'a>(folder: &[String], path: &'a [String]) -> Option<&'a str> {
    match path.strip_prefix(folder)? {
        [] => Some("mod"),
        [name, ..] => Some(name.as_str()),
    }
}

fn shortest_circle<'a>(start: &'a str, known: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in known.get(way.last()?).into_iter().flatten() {
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push([&way[..], &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

static IMPORT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^[ \t]*(pub(?:\([^)]*\))? )?use ([^;]*);").unwrap());
/// What is visible to whom is no knowledge of them.
static VISIBILITY: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bpub\([^)]*\)").unwrap());
static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:^|[^\w:])((?:\w+::)+\w+)").unwrap());

/// What a code imports, and the paths in it besides.
fn named(code: &str) -> (Vec<Import>, Vec<Path>) {
    let mut imports = Vec::new();
    for found in IMPORT.captures_iter(code) {
        expand(&found[2], &[], found.get(1).is_some(), &mut imports);
    }
    let rest = IMPORT.replace_all(code, "");
    let rest = VISIBILITY.replace_all(&rest, "");
    let paths = PATH.captures_iter(&rest).map(|found| segments(&found[1], "::")).collect();
    (imports, paths)
}

/// Takes the tree of a `use` apart, such as `a::{b, c::{self, D as E}}`.
fn expand(tree: &str, before: &[String], is_public: bool, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some(group) = tree.strip_prefix('{').and_then(|group| group.strip_suffix('}')) {
        let mut depth = 0;
        for one in group.split(|character| {
            depth += match character {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            character == ',' && depth == 0
        }) {
            expand(one, before, is_public, imports);
        }
        return;
    }
    if let Some((first, rest)) = tree.split_once("::") {
        return expand(rest, &[before, &[first.trim().to_owned()]].concat(), is_public, imports);
    }
    let (own, name) = tree.split_once(" as ").unwrap_or((tree, tree));
    let (own, name) = (own.trim(), name.trim());
    let (path, name) = match own {
        "" => return,
        "self" => (before.to_vec(), before.last().map_or(own, String::as_str)),
        _ => ([before, &[own.to_owned()]].concat(), name),
    };
    imports.push(Import { path, name: name.to_owned(), is_public });
}

fn segments(text: &str, separator: &str) -> Path {
    text.split(separator).map(str::to_owned).collect()
}

#[test]
fn the_files_of_a_module_know_each_other_in_one_direction() {
    let found = Modules::read(&sources("")).circles();
    assert!(found.is_empty(), "{found:#?}");
}

/// The circles of sources that are given as path and code.
fn circles_of(sources: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = sources
        .iter()
        .map(|(path, code)| Source { path: (*path).to_owned(), code: (*code).to_owned() })
        .collect();
    Modules::read(&sources).circles().into_iter().collect()
}

#[test]
fn circles_are_found_however_the_names_are_written() {
    let crate_root = ("lib.rs", "pub mod room;");
    let parent = ("room/mod.rs", "mod a;\nmod b;\nmod c;\npub use self::c::{C, D as E};\nfn f() {}");
    for (a, b, c, found) in [
        ("use super::b::B;", "use crate::room::{x, a};", "", Some("room: a → b → a")),
        (
            "use super::{b::{self, B}, x};",
            "fn b() { crate::room::c::c() }",
            "super::a::X",
            Some("room: a → b → c → a"),
        ),
        // Through the parent, which only hands the name on.
        ("", "use super::{\n    E,\n};", "use super::b::{B as X};", Some("room: b → c → b")),
        // Only one way, by the parent too.
        ("use super::{C, b};", "use super::c;", "use std::{a, b};\nuse self::a::x;", None),
        // The parent declares its children and calls none of them.
        ("use super::f;", "super::f()", "super::super::room::f", None),
    ] {
        let sources = [crate_root, parent, ("room/a.rs", a), ("room/b.rs", b), ("room/c.rs", c)];
        assert_eq!(circles_of(&sources), found.into_iter().collect::<Vec<_>>(), "{sources:?}");
    }
}

#[test]
fn a_parent_that_calls_what_calls_it_is_in_a_circle() {
    let parent = |code| [("lib.rs", "mod room;"), ("room.rs", code), ("room/a.rs", "use super::f;")];
    assert!(circles_of(&parent("mod a;\npub(super) use a::g;\npub fn f() {}")).is_empty());
    for code in ["mod a;\npub fn f() { a::g() }", "mod a;\nuse a::g;\nfn f() {}", "use self::a;\nfn f() {}"] {
        assert_eq!(circles_of(&parent(code)), ["room: a → mod → a"], "{code}");
    }
}

#[test]
fn a_folder_counts_as_one() {
    let sources = [
        ("lib.rs", "mod room;"),
        ("room/mod.rs", "mod a;\nmod folder;"),
        ("room/a.rs", "use super::folder::x::X;"),
        ("room/folder/mod.rs", "mod x;\nmod y;"),
        ("room/folder/x.rs", ""),
        ("room/folder/y.rs", "use super::x::X;\nuse super::super::a::A;"),
    ];
    assert_eq!(circles_of(&sources), ["room: a → folder → a"]);
}
