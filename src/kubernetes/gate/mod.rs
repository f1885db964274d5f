//! The shell of a gate in a cluster. It reads what receivers name, writes down what the gate says of them,
//! and shows that the gate is there; it decides nothing that is the gate's.

mod credentials;
mod heartbeat;
mod services;
mod share;
pub mod shell;
mod statuses;
mod telling;

pub use credentials::SecretCredentials;
pub use heartbeat::Heartbeat;
pub use services::Services;
pub use statuses::GateStatuses;
