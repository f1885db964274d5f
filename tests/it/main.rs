//! The one integration-test binary: each links everything once.
// Helpers of tests are tests, which clippy sees only of functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod canaries;
mod circles;
mod cli;
mod cluster;
mod crashes;
mod demo;
mod fuzz;
mod gate;
mod hostile;
mod keycloak;
mod modules;
mod operator;
mod packaging;
mod parties;
mod pods;
#[path = "../../src/store/postgres/tests/server.rs"]
mod postgres;
mod process;
mod readme;
mod scenarios;
mod secrets;
mod service_manager;
mod sidecar;
mod simulation;
mod state;
mod store;
mod told;
mod tools;
mod trial;
mod way_out;
mod world;

use std::path::{Path, PathBuf};

use process::{Ended, hookkeeper, run};

/// A path in the repository.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
