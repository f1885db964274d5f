//! What whoever runs the process sees and touches: logs, metrics, health, the end.

pub mod admin;
pub mod causes;
pub mod health;
pub mod last_heard;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod service_manager;
pub mod shutdown;
pub mod system;
