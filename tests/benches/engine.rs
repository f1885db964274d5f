//! What the engine costs: CPU for each rotation, memory for each subscription, time to start.
//!
//! `cargo bench --bench engine`. There is no network and no API server: the engine of the product
//! runs in the in-memory world of the tests, on virtual time. Each part runs in a process of its
//! own, so that one does not find the memory of another. Nothing here fails for being slow.
//!
//! Memory is the resident set as the kernel counts it, not the live heap: counting allocations
//! takes `unsafe`, which this package forbids, and the resident set is what a limit is set on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod load;
mod process;
mod stream;

/// Looking for secrets is for the tests: here it would be in the measure.
mod canaries {
    pub const CANARY: &str = "";

    pub fn look(_: &str, _: impl FnOnce() -> String) {}

    pub fn fault(_: String) {}

    pub fn watch_logs() {}

    #[derive(Clone, Default)]
    pub struct Watched(());
}

// The tests use more of it than this does.
#[allow(dead_code, unused_imports)]
#[path = "../it/world/mod.rs"]
mod world;

use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["part", "rotations"] => load::rotations(),
        ["part", "idle"] => load::idle(),
        ["part", "declare", path] => stream::declare(Path::new(path)),
        ["part", "parse", path] => stream::parse(Path::new(path)),
        ["part", "feed", path] => stream::feed(Path::new(path)),
        // `cargo test --all-targets` starts benchmarks too, without this.
        _ if arguments.contains(&"--bench") => all(),
        _ => {}
    }
}

fn all() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores; the engine uses one\n");
    println!("{:<52} {:>14}   target", "", "measured");
    part(&["rotations"]);
    part(&["idle"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.jsonl");
    let file = file.to_str().unwrap();
    part(&["declare", file]);
    part(&["parse", file]);
    part(&["feed", file]);
}

/// Runs one part in a process of its own.
fn part(arguments: &[&str]) {
    let program = std::env::current_exe().unwrap();
    let ended = Command::new(program).arg("part").args(arguments).stdin(Stdio::null()).status();
    assert!(ended.unwrap().success(), "{arguments:?} did not end well");
}

/// One line of the table.
fn row(what: &str, measured: impl std::fmt::Display, target: &str) {
    println!("{what:<52} {measured:>14}   {target}");
}
