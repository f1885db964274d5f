//! What a sandbox is like.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use super::disturbances::Disturbances;
use super::post::SenderConfig;
use super::tokens::Client;
use super::trial::{TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN};
use crate::secret::SecretText;

/// What a sandbox is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The bearer token of the provider's API.
    pub management_token: SecretText,
    /// The clients of the token server.
    pub clients: Vec<Client>,
    /// The provider's rate limit per source address, on average over five minutes of provider
    /// time; `None` for no limit.
    pub requests_per_minute: Option<u32>,
    /// How many times faster than real time the provider's own rules pass: delivery retries, the
    /// removal of failing webhooks, the window of the rate limit. Tokens live in real time.
    pub time_scale: f64,
    /// How often (real time) each active webhook has an event; `None` for no deliveries.
    pub delivery_interval: Option<Duration>,
    /// Where deliveries go instead of to the sandbox's own receiver.
    pub deliver_to: Option<Url>,
    /// Whether a retry carries the headers of the first attempt instead of the stored ones. What
    /// Gupy does is not documented.
    pub retries_repeat_headers: bool,
    /// What goes wrong with Gupy's deliveries.
    pub disturbances: Disturbances,
    /// Senders of other platforms.
    pub senders: Vec<SenderConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            management_token: TRIAL_MANAGEMENT_TOKEN.into(),
            clients: vec![Client {
                id: TRIAL_CLIENT_ID.to_owned(),
                secret: TRIAL_CLIENT_SECRET.into(),
                token_life: Duration::from_secs(60),
                revokes_previous: false,
            }],
            requests_per_minute: Some(500),
            time_scale: 1.0,
            delivery_interval: Some(Duration::from_secs(5)),
            deliver_to: None,
            retries_repeat_headers: false,
            disturbances: Disturbances::default(),
            senders: Vec::new(),
        }
    }
}
