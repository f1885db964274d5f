//! The shell without a cluster: manifests from a folder, Secrets from files and the environment,
//! and a state file in the place of the API server's status.

pub mod collisions;
mod durable;
pub mod manifest_secrets;
pub mod manifests;
mod names;
pub mod publish;
pub mod secrets;
pub mod shell;
mod stamp;
pub mod state;
