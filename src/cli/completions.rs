//! `hookkeeper completions`: the command line, told to a shell.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

use super::output;

/// Prints the completions for a shell.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that is to read them.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints them, made from the definition of the command line.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(args: &CompletionsArgs, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    let name = command.get_name().to_owned();
    // The generator panics when it cannot write; into memory it always can.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let mut output = output::standard();
    output.write_all(&script)?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
