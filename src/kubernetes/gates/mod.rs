//! The controller's side of gates that are processes of their own.
//!
//! | part | what |
//! |---|---|
//! | `presence` | who is there, judged by our own clock; pure |
//! | `folding`, `deciding`, `sightings` | what follows for receivers, for their statuses and for the engine; pure |
//! | `board` | what is known |
//! | `leases` | watches the Leases of gates |
//! | `leader` | tells the engine, and writes what is decided |
//! | `port` | the gates as the engine asks for them |

pub(super) mod board;
mod deciding;
mod folding;
pub(super) mod leader;
pub(super) mod leases;
mod port;
mod presence;
mod sightings;

pub use port::ClusterGates;
