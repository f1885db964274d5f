//! Input that nobody should send, through the real process: manifests, answers of token servers
//! and of providers, destinations. Each case stands beside healthy subscriptions that go on.

mod admin;
mod destinations;
mod files;
mod manifests;
mod memory;
pub mod neighbours;
mod provider_answers;
pub mod server;
pub mod stage;
mod token_answers;
