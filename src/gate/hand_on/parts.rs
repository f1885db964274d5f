//! What handing on works with.

use std::sync::Arc;
use std::time::Duration;

use super::ports::{Exchange, Locate};
use crate::gate::clock::Clock;
use crate::gate::observer::Observer;
use crate::store::Store;

/// How deliveries are handed on; the defaults are those of a production process.
#[derive(Clone)]
pub struct Options {
    /// How many deliveries may be under way, to all applications together. A namespace may have as many
    /// as it leaves to the next.
    pub most: usize,
    /// How many bytes of bodies they may hold together, in the same way.
    pub most_bytes: u64,
    /// A receiver is looked after at least so often, though nothing says that there is anything.
    pub look_every: Duration,
    /// How often it is looked whether something waits for a receiver that is gone.
    pub tidy_every: Duration,
    /// What becomes of deliveries whose receiver is no longer there.
    pub gone: Gone,
    /// Whether all receivers of a namespace are known. What waits for a receiver that was never there waits
    /// until this is so.
    pub knows_all_of: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Random bits, so that deliveries that failed together do not come back together.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            most: 512,
            most_bytes: 128 << 20,
            look_every: Duration::from_secs(30),
            tidy_every: Duration::from_secs(60),
            gone: Gone::Wait,
            knows_all_of: Arc::new(|_| true),
            random: Arc::new(|| getrandom::u64().unwrap_or_default()),
        }
    }
}

/// What becomes of deliveries whose receiver is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// They wait, as under `suspend`: a file that is missing may come back.
    Wait,
    /// They are parked: an object was deleted, and whoever takes its name gets nothing of it.
    Park,
}

/// What handing on works with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) locate: Arc<dyn Locate>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: Options,
}
