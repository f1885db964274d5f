//! The `hookkeeper` binary: hands over to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookkeeper::cli::main()
}
