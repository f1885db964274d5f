//! The command line: one file for each subcommand.

pub mod check;
pub mod crds;
pub mod health;
pub mod sandbox;
pub mod sidecar;
