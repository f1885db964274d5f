//! `hookkeeper check`: judges manifests without a cluster.

mod declared;
mod findings;
mod input;
mod judge;
mod receivers;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::output;
use crate::gate::paths::AllowedPath;
use crate::printable::printable;
use findings::Findings;
use judge::judge;

/// Validates manifests offline; exit code 1 when there is a problem.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Files, folders (their .yaml, .yml and .json files) or `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Let receivers of the namespace have paths that begin with PREFIX/, besides those that begin with
    /// /NAMESPACE/: what the gate is started with.
    #[arg(long, value_name = "NAMESPACE=/PREFIX")]
    pub allow_path: Vec<AllowedPath>,
}

/// Judges the files, prints a line for each of the first problems and warnings, and a summary.
///
/// # Errors
/// When standard output cannot be written to; what is wrong with the files is no error.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let inputs = input::read(&args.files);
    let findings = judge(&inputs, &args.allow_path);
    print(&findings, &mut output::standard())?;
    Ok(if findings.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &Findings, output: &mut impl Write) -> anyhow::Result<()> {
    for line in &findings.lines {
        writeln!(output, "{}", printable(line))?;
    }
    let (problems, warnings) = findings.untold();
    if problems + warnings > 0 {
        writeln!(output, "not listed: {}, {}", count(problems, "problem"), count(warnings, "warning"))?;
    }
    writeln!(
        output,
        "{} checked, {}, {}",
        count(findings.documents, "document"),
        count(findings.problems, "problem"),
        count(findings.warnings, "warning"),
    )?;
    Ok(output.flush()?)
}

fn count(number: usize, of_what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of_what}{plural}")
}

#[cfg(test)]
mod receiver_tests;
#[cfg(test)]
mod tests;
