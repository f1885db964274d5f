#![allow(dead_code, unused_imports, clippy::all)]
#[path = "it/canaries.rs"]
mod canaries;
#[path = "it/cluster/mod.rs"]
mod cluster;
#[path = "it/process.rs"]
mod process;
#[path = "it/tools.rs"]
mod tools;
#[path = "it/trial.rs"]
mod trial;
#[path = "it/operator"]
mod operator {
    pub mod permissions;
    pub mod trial;
}
#[path = "it/packaging/mod.rs"]
mod packaging;
#[path = "it/readme.rs"]
mod readme;
use process::{Ended, hookkeeper, run};
use std::path::{Path, PathBuf};
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
