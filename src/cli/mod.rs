//! The command line: one file for each subcommand.
//!
//! [`main`] reads the arguments, runs one subcommand and turns what comes of it into an exit code
//! and at most one line on standard error. Subcommands decide nothing: they put other modules
//! together and print.

mod ask;
pub mod check;
pub mod completions;
mod compose;
pub mod controller;
mod coupling;
pub mod crds;
pub mod deliveries;
pub mod demo;
pub mod gate;
pub mod gate_args;
pub mod gate_cluster;
mod gate_ports;
mod gating;
pub mod health;
mod observe;
mod output;
mod proxy;
pub mod sandbox;
pub mod serve;
pub mod sidecar;
mod storing;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::ops::causes::told;
use crate::printable::printable;

const EXIT_CODES: &str = "\
Exit codes:
  0  everything is well
  1  a problem was found, or the command failed; standard error says why
  2  the command line itself is wrong";

/// How long the end of the process waits for a thread that is stuck, such as one that reads from a
/// file system that does not answer. What must be durable was awaited before.
const STUCK_THREADS: Duration = Duration::from_secs(2);

/// Keeps the expiring tokens inside third-party webhook subscriptions fresh.
#[derive(Debug, Parser)]
#[command(name = "hookkeeper", version, propagate_version = true)]
struct CommandLine {
    /// How many threads do the work.
    #[arg(long, global = true, value_name = "N", env = "HOOKKEEPER_THREADS", default_value_t = 2,
        value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Controller(controller::Args),
    Sidecar(sidecar::Args),
    Gate(gate_args::Args),
    Deliveries(deliveries::Args),
    Sandbox(sandbox::Args),
    Check(check::CheckArgs),
    Health(health::Args),
    Crds(crds::CrdsArgs),
    Completions(completions::CompletionsArgs),
}

/// Runs the process's command line to its end.
#[must_use]
pub fn main() -> ExitCode {
    crate::ops::logs::guard_panics();
    // Before anything secret is read; all commands, for most of them read a Secret in some way.
    if let Err(error) = crate::ops::memory::keep_private() {
        let _ = writeln!(std::io::stderr(), "hookkeeper: core dumps cannot be switched off: {error}");
    }
    let matches = definition().get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    run(line).unwrap_or_else(|error| {
        // Nothing is left to be done when nobody reads this either.
        let _ = writeln!(std::io::stderr(), "hookkeeper: {}", printable(&told(error.as_ref())));
        ExitCode::FAILURE
    })
}

/// The whole command line; every help text ends with the exit codes.
fn definition() -> clap::Command {
    CommandLine::command().after_help(EXIT_CODES).mut_subcommands(|command| command.after_help(EXIT_CODES))
}

fn run(line: CommandLine) -> anyhow::Result<ExitCode> {
    let threads = line.threads;
    match line.command {
        Command::Demo(args) => block_on(threads, demo::run(args)),
        Command::Controller(args) => finish(threads, controller::run(args)),
        Command::Sidecar(args) => finish(threads, sidecar::run(args)),
        Command::Sandbox(args) => finish(threads, sandbox::run(args)),
        Command::Gate(args) => finish(threads, gate::run(args)),
        Command::Deliveries(args) => block_on(threads, deliveries::run(args)),
        Command::Health(args) => block_on(threads, health::run(args)),
        Command::Check(args) => check::run(&args),
        Command::Crds(args) => crds::run(args),
        Command::Completions(args) => completions::run(&args, definition()),
    }
}

/// Runs a command that has nothing to say at its end.
fn finish(threads: u8, command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    block_on(threads, async { command.await.map(|()| ExitCode::SUCCESS) })
}

fn block_on(
    threads: u8,
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.into())
        .enable_all()
        .build()
        .context("the threads cannot be started")?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(STUCK_THREADS);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_contradicts_itself_nowhere() {
        definition().debug_assert();
    }
}
