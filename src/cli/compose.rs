//! Puts the engine of a process without a cluster together.

use std::sync::Arc;

use crate::engine::ports::{Meter, Publish, Record, Secrets};
use crate::engine::{Engine, Options, Ports};
use crate::http::{AllowedDestination, Client, Config, DestinationPolicy, SetupError};
use crate::ops::system::{LoggedNotices, SystemClock, SystemRandom};
use crate::provider::Gateway;
use crate::sidecar::shell::Alone;
use crate::token_source::TokenMinter;

/// What the sidecar's shell brings.
pub(super) struct FromShell {
    pub(super) record: Arc<dyn Record>,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) publish: Arc<dyn Publish>,
}

/// The engine with the real clock, the real network and what the shell brings.
pub(super) fn engine(
    shell: FromShell,
    destinations: Vec<AllowedDestination>,
    meter: Arc<dyn Meter>,
    options: Options,
) -> Result<Engine, SetupError> {
    let client =
        Client::new(Config { destinations: DestinationPolicy::new(destinations), ..Config::default() })?;
    let clock = Arc::new(SystemClock);
    let minter = TokenMinter::new(client.clone(), Arc::clone(&shell.secrets), Arc::clone(&clock) as _);
    let ports = Ports {
        clock,
        random: Arc::new(SystemRandom),
        record: shell.record,
        publish: shell.publish,
        minter: Arc::new(minter),
        remotes: Arc::new(Gateway::new(client, shell.secrets)),
        leadership: Arc::new(Alone),
        notices: Arc::new(LoggedNotices),
        meter,
    };
    Ok(Engine::new(ports, options))
}
