//! What taking deliveries in costs: the gate, a server that only answers 200, and what people put there
//! today, one after the other on the same machine.
//!
//! `cargo bench --bench gate`, or a part of it: `cargo bench --bench gate -- --only gate-stored,nginx`.
//! Each server is a process of its own on 127.0.0.1, started here and ended afterwards. Those of others
//! come from package registries (`tests/benches/peers`); one that cannot be had is left out, and that is
//! said. The load comes from this process, so its cost is in every figure alike. Nothing here fails for
//! being slow; an acknowledged delivery that the application never got is told at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod application;
mod backlog;
mod client;
mod comparison;
mod deliveries;
mod hookkeeper;
mod load;
mod machine;
mod marks;
mod peers;
mod process;
mod report;
mod subject;

use std::path::PathBuf;

use clap::Parser;

/// What is measured, and for how long.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Only these, with commas between them; see --list.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Say what there is to measure.
    #[arg(long)]
    list: bool,
    /// How often each is measured; the table has the medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each load lasts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Deliveries a second, besides as many as 64 connections get through.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    rates: Vec<u32>,
    /// How many deliveries wait in the end while the application is dead.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Short loads and a small backlog: shows that everything works, and measures nothing.
    #[arg(long)]
    quick: bool,
    /// Where stores and databases lie: a folder on the disk that is to be measured.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    data: PathBuf,
    /// Where the figures go as JSON.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/gate.json"))]
    json: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["part", "application", address] => application::run(address.parse().unwrap()),
        // `cargo test --all-targets` starts benchmarks too, without this.
        _ if arguments.contains(&"--bench") => all(Options::parse()),
        _ => {}
    }
}

fn all(mut options: Options) {
    if options.quick {
        (options.rounds, options.seconds) = (1, 2);
        options.backlog = options.backlog.min(20_000);
    }
    let subjects = subject::all();
    if options.list {
        for subject in &subjects {
            println!("{:<24} {}", subject.name, subject.title);
        }
        println!("{:<24} {}", backlog::NAME, backlog::TITLE);
        return;
    }
    let unknown: Vec<&String> = options
        .only
        .iter()
        .filter(|name| *name != backlog::NAME && subjects.iter().all(|subject| subject.name != **name))
        .collect();
    assert!(unknown.is_empty(), "unknown: {unknown:?}; --list says what there is");
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);

    std::fs::create_dir_all(&options.data).unwrap();
    let folder = tempfile::Builder::new().prefix("gate-").tempdir_in(&options.data).unwrap();
    // Databases run as users of their own.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut report = report::Report::new(machine::describe(folder.path()));
    let subjects: Vec<_> = subjects.into_iter().filter(|subject| wanted(subject.name)).collect();
    comparison::run(&subjects, &options, folder.path(), &mut report);
    if wanted(backlog::NAME) {
        backlog::run(&options, folder.path(), &mut report);
    }
    report.print();
    report.write(&options.json);
}
