//! Puts the engine of a process together.

use std::sync::Arc;

use crate::engine::ports::{Gates, Leadership, Meter, Notices, Publish, Record, Secrets, ServiceAccounts};
use crate::engine::{Engine, Options, Ports};
use crate::http::Client;
use crate::ops::system::{SystemClock, SystemRandom};
use crate::provider::Gateway;
use crate::shares::budget::Budgets;
use crate::token_source::TokenMinter;

/// What a shell brings.
pub(super) struct FromShell {
    pub(super) record: Arc<dyn Record>,
    /// Secrets of providers and of headers.
    pub(super) secrets: Arc<dyn Secrets>,
    /// Secrets of token sources.
    pub(super) mint_secrets: Arc<dyn Secrets>,
    /// Where there is a cluster.
    pub(super) service_accounts: Option<Arc<dyn ServiceAccounts>>,
    pub(super) publish: Arc<dyn Publish>,
    /// Those that prove deliveries with the tokens.
    pub(super) gates: Arc<dyn Gates>,
    pub(super) leadership: Arc<dyn Leadership>,
    pub(super) notices: Arc<dyn Notices>,
    /// Others in the process who send requests to providers.
    pub(super) sharing: Option<Budgets>,
}

/// The engine with the real clock, the real network and what the shell brings.
pub(super) fn engine(shell: FromShell, client: Client, meter: Arc<dyn Meter>, options: Options) -> Engine {
    let clock = Arc::new(SystemClock);
    let minter = TokenMinter::new(client.clone(), shell.mint_secrets, Arc::clone(&clock) as _)
        .with_service_accounts(shell.service_accounts);
    let ports = Ports {
        clock,
        random: Arc::new(SystemRandom),
        record: shell.record,
        publish: shell.publish,
        gates: shell.gates,
        minter: Arc::new(minter),
        provider_clients: Arc::new(Gateway::new(client, shell.secrets)),
        leadership: shell.leadership,
        notices: shell.notices,
        meter,
    };
    let engine = Engine::new(ports, options);
    match shell.sharing {
        Some(budgets) => engine.sharing(budgets),
        None => engine,
    }
}
