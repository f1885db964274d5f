//! The command line: one file for each subcommand, and no logic.

pub mod check;
pub mod crds;
pub mod health;
pub mod sidecar;
