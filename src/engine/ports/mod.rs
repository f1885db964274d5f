//! The engine's view of the outside: small traits, and nothing else.
//!
//! The shells, the modules that talk to the network and the simulation implement them; the simulation
//! runs the very same engine on virtual time.

mod gates;
mod leadership;
mod meter;
mod minting;
mod providers;
mod recording;
mod secrets;
mod time;

use std::sync::Arc;

pub use self::gates::{GateFailure, Gates, NoGates, Offered};
pub use self::leadership::{CallFence, Claim, Leadership};
pub use self::meter::{Gauges, Kept, Meter, Notice, Notices, SubscriptionGauge, TokensSeen};
pub use self::minting::{Minter, ServiceAccounts};
pub use self::providers::{Custody, Document, Invalid, ProviderClient, ProviderClients};
pub use self::recording::{Publish, PublishFailure, Record, RecordFailure};
pub use self::secrets::{SecretFailure, SecretValue, Secrets};
pub use self::time::{Clock, Random};
pub use super::account::Account;
pub use crate::rotation::facts::ProviderProfile;
pub use crate::rotation::life::Lifetime;
pub use crate::rotation::outcome::{
    Applied, CallFailure, Listing, MintFailure, Minted, Published, Refusal, RemoteSubscription,
};
pub use crate::rotation::reading::{After, Reading};

/// The outside, as the engine sees it.
#[derive(Clone)]
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Unpredictable numbers.
    pub random: Arc<dyn Random>,
    /// Makes statuses durable.
    pub record: Arc<dyn Record>,
    /// Publishes tokens.
    pub publish: Arc<dyn Publish>,
    /// Prove deliveries.
    pub gates: Arc<dyn Gates>,
    /// Obtains tokens.
    pub minter: Arc<dyn Minter>,
    /// Calls providers.
    pub provider_clients: Arc<dyn ProviderClients>,
    /// May this process act?
    pub leadership: Arc<dyn Leadership>,
    /// Tells people.
    pub notices: Arc<dyn Notices>,
    /// Counts.
    pub meter: Arc<dyn Meter>,
}
