//! hookkeeper keeps the expiring tokens inside third-party webhook subscriptions fresh.

pub mod api;
pub mod cli;
pub mod engine;
pub mod http;
pub mod ops;
pub mod provider;
pub mod rotation;
pub mod sandbox;
pub mod secret;
pub mod sidecar;
pub mod token_source;
