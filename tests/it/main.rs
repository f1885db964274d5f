//! The one integration-test binary: each links everything once.
// Helpers of tests are tests, which clippy sees only of functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod cluster;
mod crashes;
mod demo;
mod readme;
mod rooms;
mod scenarios;
mod sidecar;
mod simulation;
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The real binary, with no settings from whoever runs the tests.
fn hookkeeper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookkeeper"));
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKKEEPER_") {
            command.env_remove(name);
        }
    }
    command
}

/// How the process ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str]) -> Ended {
    let output = hookkeeper().args(arguments).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A path in the repository.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
