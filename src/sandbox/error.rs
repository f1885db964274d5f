//! What can go wrong with a sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a sandbox could not start or write its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(&'static str),
    /// The client that sends deliveries could not be made.
    #[error("cannot send deliveries: {0}")]
    Deliveries(String),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}
