//! What the modules of the code may know of each other and of the outside, read from the sources.
//!
//! Only code counts: neither comments nor tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

use super::in_repository;

pub struct Source {
    /// Path below `src/`, such as `engine/mod.rs`.
    pub path: String,
    pub code: String,
}

/// The sources of one module, or of everything for `""`.
pub fn sources(module: &str) -> Vec<Source> {
    let root = in_repository("src");
    let mut found = Vec::new();
    collect(&root, &root.join(module), &mut found);
    assert!(!found.is_empty(), "src/{module} holds no source");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "tests" {
                collect(root, &path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source {
                path: path.strip_prefix(root).unwrap().display().to_string(),
                code: code(&text),
            });
        }
    }
}

/// The text without lines of comment and without what is compiled for tests only.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() == "#[cfg(test)]" {
            // The item that follows, up to the brace that closes it.
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let mut item = lines.by_ref().skip_while(|line| line.trim().starts_with("#["));
            if item.next().is_some_and(|first| !first.ends_with(';')) {
                let _ = item.find(|line| *line == end);
            }
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// Fails when the code of one of the modules holds one of the words.
fn assert_silent(modules: &[&str], words: &[&str]) {
    for module in modules {
        for source in sources(module) {
            for word in words {
                let pattern = Regex::new(&format!(r"\b{word}\b")).unwrap();
                let line = source.code.lines().find(|line| pattern.is_match(line));
                assert_eq!(line, None, "src/{} knows {word}", source.path);
            }
        }
    }
}

/// The modules that the code names as `crate::module` or `crate::{module, …}`.
fn known_modules(code: &str) -> BTreeSet<String> {
    let path = Regex::new(r"\bcrate::(\w+|\{[^;]*\})").unwrap();
    // In a group, names of modules stand at its beginning and after commas of its own level.
    let in_group = Regex::new(r"[{,]\s*(\w+)").unwrap();
    let mut modules = BTreeSet::new();
    for found in path.captures_iter(code) {
        let named = &found[1];
        if !named.starts_with('{') {
            modules.insert(named.to_owned());
        }
        modules.extend(in_group.captures_iter(named).map(|name| name[1].to_owned()));
    }
    modules
}

#[test]
fn the_core_reads_no_clock_draws_no_lots_and_touches_nothing_outside() {
    assert_silent(
        &["rotation", "api"],
        &[
            "tokio",
            "futures",
            "reqwest",
            "hyper",
            "axum",
            "rand",
            "getrandom",
            "tracing",
            "Utc::now",
            "Local::now",
            "Instant",
            "SystemTime",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "async",
            "await",
        ],
    );
    // `api` derives the schema with kube; a client of the API server is another matter.
    assert_silent(&["api"], &["Client", "Api", "runtime"]);
    assert_silent(&["rotation"], &["kube", "k8s_openapi", "static mut", "Mutex"]);
}

#[test]
fn the_engine_reaches_the_outside_through_its_ports_only() {
    assert_silent(
        &["engine"],
        &[
            "kube",
            "k8s_openapi",
            "reqwest",
            "hyper",
            "axum",
            "rand",
            "getrandom",
            "std::fs",
            "std::net",
            "std::env",
            "tokio::fs",
            "tokio::net",
            "Utc::now",
            "SystemTime",
            "Instant::now",
        ],
    );
}

#[test]
fn a_module_knows_only_the_modules_below_it() {
    for (module, below) in [
        ("api", &["secret"][..]),
        ("rotation", &["api", "secret"]),
        ("engine", &["api", "rotation", "secret"]),
        ("http", &["secret"]),
        ("token_source", &["api", "engine", "http", "rotation", "secret"]),
        ("provider", &["api", "engine", "http", "rotation", "secret"]),
        ("store", &[]),
        // With the engine it meets in the shells only.
        ("gate", &["api", "http", "secret", "store"]),
        ("sidecar", &["api", "engine", "gate", "ops", "rotation", "secret"]),
        ("kubernetes", &["api", "engine", "gate", "ops", "rotation", "secret", "store"]),
        ("ops", &["api", "engine", "gate", "rotation", "store"]),
        // It stands for somebody else's software; it shares types and no behaviour with ours.
        ("sandbox", &["api", "http", "secret"]),
    ] {
        for source in sources(module) {
            for known in known_modules(&source.code) {
                // What is shown to people is cleaned everywhere in the same way.
                assert!(
                    known == module
                        || known == "printable"
                        || known == "shares"
                        || below.contains(&known.as_str()),
                    "src/{} knows {known}",
                    source.path
                );
            }
        }
    }
}

/// The functions of the engine that code imports, such as `calls::failure::fail`.
fn functions_of_the_engine(code: &str) -> BTreeSet<String> {
    let import = Regex::new(r"(?m)^use (?:crate::engine|super)::((?:\w+::)+)(\w+|\{[^}]*\});").unwrap();
    let mut functions = BTreeSet::new();
    for found in import.captures_iter(code) {
        let names = found[2].trim_matches(['{', '}']).split(',').map(str::trim);
        let is_function = |name: &&str| name.starts_with(|first: char| first.is_ascii_lowercase());
        functions.extend(names.filter(is_function).map(|name| format!("{}{name}", &found[1])));
    }
    functions
}

/// A handler says what follows and leaves it to the loop: whoever reads one need not read the others.
#[test]
fn no_handler_of_the_engine_calls_another() {
    // What handlers have in common, and the end of a step that broke.
    let common = [
        "calls::ending::end_call",
        "calls::failure::fail",
        "calls::failure::internal",
        "dispatch::agenda::reconcile_soon",
        "subscriptions::rest::rest",
    ];
    let sources = sources("engine");
    let handle = sources.iter().find(|source| source.path == "engine/handle.rs").unwrap();
    let mut handlers = functions_of_the_engine(&handle.code);
    for name in common {
        assert!(handlers.remove(name), "{name} is not used any more");
    }
    assert!(handlers.len() > 30, "{handlers:?}");
    for source in sources.iter().filter(|source| source.path != handle.path) {
        let called: Vec<String> =
            functions_of_the_engine(&source.code).intersection(&handlers).cloned().collect();
        let is_the_loop = source.path == "engine/mod.rs";
        assert!(called.is_empty() || is_the_loop, "src/{} calls {called:?}", source.path);
    }
}

#[test]
fn only_one_module_sends_requests_to_the_outside() {
    let uses = Regex::new(r"\b(reqwest|hyper_util::client|hyper::client)::").unwrap();
    for source in sources("") {
        if !source.path.starts_with("http/") {
            assert!(!uses.is_match(&source.code), "src/{}", source.path);
        }
    }
    let builders: Vec<String> = sources("http")
        .into_iter()
        .filter(|source| source.code.contains("Client::builder") || source.code.contains("ClientBuilder"))
        .map(|source| source.path)
        .collect();
    assert_eq!(builders, ["http/client.rs"]);
}

#[test]
fn providers_are_data() {
    // The list of presets; and what stands in for that provider to try things out against.
    let may_name_one = |path: &str| {
        path == "provider/preset.rs"
            || path == "gate/preset.rs"
            || path.starts_with("sandbox/")
            || ["cli/sandbox.rs", "cli/demo.rs"].contains(&path)
            || path.starts_with("cli/demo/")
    };
    for source in sources("") {
        let line = source.code.lines().find(|line| line.to_lowercase().contains("gupy"));
        assert!(line.is_none() || may_name_one(&source.path), "src/{}: {line:?}", source.path);
    }
}

#[test]
fn only_code_counts() {
    let text = "\
//! tokio
use a; // kept
    /// tokio
#[cfg(test)]
mod tests;
fn b() {
    #[cfg(test)]
    fn c() {
        tokio
    }
    d
}
#[cfg(test)]
#[allow(x)]
mod more {
    fn e() {
        tokio
    }
}
fn f() {}
";
    assert_eq!(code(text), "use a; // kept\nfn b() {\n    d\n}\nfn f() {}\n");
    assert_eq!(
        known_modules("use crate::{http::{Client}, ops};\ncrate::api::x()"),
        BTreeSet::from(["http", "Client", "ops", "api"].map(str::to_owned))
    );
}
