//! What whoever runs the process sees and touches: logs, metrics, health, the end.

pub mod admin;
pub mod by_hand;
pub mod causes;
mod clean_lines;
pub mod descriptors;
mod engine_state;
pub mod gate_journal;
pub mod gate_metrics;
pub mod gates_there;
pub mod health;
mod labelled;
pub mod last_heard;
pub mod log_level;
pub mod log_shares;
pub mod logs;
pub mod memory;
pub mod metrics;
mod places;
pub mod process;
mod scrapes;
mod series;
pub mod server;
pub mod service_manager;
pub mod shares;
pub mod shutdown;
pub mod system;
