//! The shell in a cluster: objects come from an API server, and what is recorded goes back to it.
//!
//! It decides nothing. [`shell::Shell`] puts its parts together.

pub mod client;
pub mod election;
mod event_queue;
mod events;
pub mod gate;
pub mod gate_lease;
mod gates;
mod last_heard;
pub mod lease;
mod objects;
mod publish;
mod record;
mod resources;
mod secrets;
mod service_accounts;
pub mod shell;
mod telling;
mod versions;
mod watch;
mod watched;

pub use events::Events;
pub use gates::ClusterGates;
pub use last_heard::LastHeard;
pub use publish::SecretPublisher;
pub use record::StatusRecord;
pub use secrets::{Freshness, KubernetesSecrets};
pub use service_accounts::TokenRequests;
pub use watch::Scope;
