//! A Gupy-like provider with a token server, platforms that send deliveries, and the application
//! that they are meant for: the other side of hookkeeper, for trying it out, for the demo, and as the
//! judge in tests.
//!
//! Everything runs behind one listener: Gupy's webhook API under `/api/v1/webhooks`, tokens under
//! `/oauth/token` (RFC 6749) and `/api/v1/auth/token` (as Gupy's admission product answers), the
//! receiver under `/receive/`, the application behind a gate under `/application/`, IDUnico's Get
//! Process under `/processes/v1/`, and `/admin/` for the ledger, the senders and faults. Nothing is kept beyond
//! the process, and nothing guards `/admin/`: it belongs on loopback.
//!
//! How it hangs together: `world` holds all state behind one lock and changes it without waiting
//! or reading a clock; the files named after endpoints translate HTTP into those changes; `exchange`
//! carries out faults around them; `deliveries` sends what is due at Gupy. Each other platform is a
//! file in `platforms`, put to work by a `desk` and sent by `senders`. `account` says what became of
//! every single delivery: the platforms write into it what they sent, the `application` what arrived.
//!
//! What the platforms document is followed. Where they are silent, the choice is stated where it is made.

mod account;
mod admin;
mod application;
mod clock;
mod config;
mod cuttable;
mod deliveries;
mod desk;
mod disturbances;
mod document;
mod error;
mod exchange;
mod faults;
mod gupy;
mod gupy_sender;
mod ledger;
mod platforms;
mod post;
mod processes;
mod random;
mod rate_limit;
mod received;
mod receiver;
mod schedule;
mod senders;
mod server;
mod shared;
mod token_endpoint;
mod tokens;
mod trial;
mod webhooks;
mod wire;
mod world;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

pub use account::{
    Arrival, BrokenRule, DeliveryLedger, EventKey, Expected, Parked, Reply, Rule, Summary, TRACKED_EVENTS,
};
pub use admin::WebhookView;
pub use config::Config;
pub use desk::SenderCounts;
pub use disturbances::Disturbances;
pub use document::Status;
pub use error::Error;
pub use faults::{Fault, FaultBody, FaultState, Target};
pub use ledger::{
    DETAILED_ENTRIES, Delivery, Entry, Event, HandedOn, LedgerSummary, Operation, Outcome, ProviderCall,
    TokenRequest, Vanishing,
};
pub use platforms::{Authentication, IdUnico, Platform, ProcessPlan, Pulpo, QualP};
pub use post::{SenderChange, SenderConfig, SenderView};
pub use received::{RECEIVED_KEPT, Received};
pub use tokens::{Client, ClientChange, Death};
pub use trial::{
    TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_EXPECT_KEY, TRIAL_IDUNICO_API_KEY, TRIAL_IDUNICO_CREDENTIALS,
    TRIAL_MANAGEMENT_TOKEN, TRIAL_PULPO_TOKEN, TRIAL_QUALP_ACCESS_TOKEN, TRIAL_QUALP_SECRET,
    TRIAL_QUALP_TAX_ID, TRIAL_TOKEN_PREFIX,
};
pub use webhooks::Late;
pub use write::{SandboxInfo, WriteOptions, Written, trial_platforms, write_manifests};

use admin::GUPY;
use shared::Shared;

/// How long a shutdown waits for requests that are being answered.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// A running sandbox; it ends when this is dropped.
pub struct Sandbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
    /// What sends.
    senders: JoinSet<()>,
}

impl Sandbox {
    /// Binds and runs.
    ///
    /// # Errors
    /// When a setting makes no sense or the address is taken.
    pub async fn start(config: Config) -> Result<Self, Error> {
        if !config.time_scale.is_finite() || !(0.001..=1e6).contains(&config.time_scale) {
            return Err(Error::Setting("the time scale must be from 0.001 to 1000000"));
        }
        if config.delivery_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::Setting("the delivery interval must not be zero"));
        }
        if let Some(problem) = config.disturbances.problem() {
            return Err(Error::Setting(problem));
        }
        let names: BTreeSet<&String> = config.senders.iter().map(|sender| &sender.name).collect();
        if names.len() < config.senders.len() || names.iter().any(|name| *name == GUPY) {
            return Err(Error::Setting("each sender needs a name of its own, and not gupy"));
        }
        let listen_error = |source| Error::Listen { address: config.listen, source };
        let listener = tokio::net::TcpListener::bind(config.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let shared = Arc::new(Shared::new(&config, &base_url(address))?);
        let mut running = JoinSet::new();
        running.spawn(deliveries::run(Arc::clone(&shared)));
        for post in &shared.senders {
            running.spawn(senders::run(Arc::clone(&shared), Arc::clone(post)));
        }
        Ok(Self {
            server: tokio::spawn(server::run(listener, Arc::clone(&shared))),
            senders: running,
            shared,
            address,
        })
    }

    /// The base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        base_url(self.address)
    }

    /// The sums of what has happened.
    #[must_use]
    pub fn ledger(&self) -> LedgerSummary {
        let (world, now) = self.shared.lock_now();
        world.summary(now)
    }

    /// What has happened after entry number `since`, oldest first; 0 for all that is still kept.
    #[must_use]
    pub fn entries(&self, since: u64) -> Vec<Entry> {
        self.shared.lock().ledger.since(since)
    }

    /// Late times under way at this moment.
    #[must_use]
    pub fn late_now(&self) -> Vec<Late> {
        let (world, now) = self.shared.lock_now();
        world.late_now(now)
    }

    /// The webhooks stored at this moment, oldest first.
    #[must_use]
    pub fn webhooks(&self) -> Vec<WebhookView> {
        let (world, now) = self.shared.lock_now();
        admin::views(&world, now)
    }

    /// The faults.
    #[must_use]
    pub fn faults(&self) -> Faults<'_> {
        Faults(&self.shared)
    }

    /// Makes a webhook by hand, past the API: no call is counted, and a double is nobody's fault.
    ///
    /// # Errors
    /// The `detail` with which the API would refuse the document.
    pub fn add_webhook(&self, document: &Value) -> Result<String, String> {
        admin::add_webhook(&self.shared, document)
    }

    /// Makes a webhook vanish; false when there is none of that id.
    pub fn remove_webhook(&self, id: &str) -> bool {
        admin::remove_webhook(&self.shared, id)
    }

    /// Changes a client of the token server; false when there is none of that id.
    pub fn change_client(&self, id: &str, change: ClientChange) -> bool {
        admin::change_client(&self.shared, id, change)
    }

    /// What became of all deliveries that were handed on, with what is parked elsewhere.
    #[must_use]
    pub fn account(&self, parked: &[Parked<'_>]) -> Summary {
        self.shared.account.account(parked)
    }

    /// The account itself, for those who send by other means.
    #[must_use]
    pub fn delivery_ledger(&self) -> Arc<DeliveryLedger> {
        Arc::clone(&self.shared.account)
    }

    /// The last requests that the application got, oldest first, at most [`RECEIVED_KEPT`].
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.received().iter().cloned().collect()
    }

    /// The senders of platforms other than Gupy.
    #[must_use]
    pub fn senders(&self) -> Vec<SenderView> {
        self.shared.senders.iter().map(|post| post.view()).collect()
    }

    /// Changes a sender; `gupy` are the senders of all of Gupy's webhooks.
    ///
    /// # Errors
    /// Why the change makes no sense, or that there is no such sender.
    pub fn change_sender(&self, name: &str, change: SenderChange) -> Result<(), &'static str> {
        admin::change_sender(&self.shared, name, change).unwrap_or(Err("there is no sender of this name"))
    }

    /// Sets the sandbox's clock, and no other, forward: tokens expire, retries come due.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.travel(by);
        self.shared.wake.notify_one();
        self.shared.senders.iter().for_each(|post| post.wake());
    }

    /// Stops listening, ends open connections and waits for that.
    pub async fn shutdown(mut self) {
        self.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }

    fn close(&mut self) {
        self.shared.closing.send_replace(true);
        self.senders.abort_all();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// The faults of a running sandbox.
pub struct Faults<'a>(&'a Shared);

impl Faults<'_> {
    /// Asks for a fault and returns its number.
    ///
    /// # Errors
    /// Why the fault makes no sense.
    pub fn add(&self, fault: Fault) -> Result<u64, &'static str> {
        self.0.lock().faults.add(fault)
    }

    /// All faults, used up or not, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<FaultState> {
        self.0.lock().faults.list()
    }

    /// Ends all faults. Requests that hang already go on hanging.
    pub fn clear(&self) {
        self.0.lock().faults.clear();
    }
}

fn base_url(address: SocketAddr) -> String {
    // Nobody can connect to "all addresses".
    let ip = match address.ip() {
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}
