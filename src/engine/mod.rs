//! The engine: carries out what the rules decide, at the time they decide it.
//!
//! One task owns all state. It takes changes from a shell, asks [`crate::rotation::decide`] what
//! each subscription needs next, and files it under the time of that. Calls run beside it as
//! futures that own what they need and report back; none of them touches the state, so a panic in
//! one stays with its object, and dropping the engine at any await drops everything at once.
//!
//! # Why not kube's `Controller`
//! Its runtime is built around reconciling on events: a watch event bypasses the delay an error
//! asked for, an earlier requeue is dropped when a later run returns, a hung reconcile keeps its
//! slot, one panic ends the controller, and there is no attempt count, no order by deadline and no
//! budget for each provider. This product is a deadline scheduler, so the scheduler is its own:
//! one queue ordered by deadline, one entry for each object, each entry recomputed from `decide` on
//! every change.

pub(crate) mod accounts;
mod blocked;
mod breaker;
mod calls;
pub mod change;
mod changes;
mod class;
mod clocks;
mod comparing;
mod dependencies;
mod entry;
mod evidence;
mod failures;
mod finish;
mod gates;
mod gauges;
mod hold_back;
mod ids;
mod judge;
mod keeping;
mod keeping_alive;
mod listings;
mod mints;
mod namespaces;
mod origin;
mod outcomes;
mod pace;
pub mod ports;
mod providers;
mod publishing;
mod ready;
mod reconcile;
mod records;
mod repeated;
mod state;
mod steps;
mod tidying;
mod timers;
mod tokens;
mod turns;
mod views;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use self::calls::Job;
use self::change::Change;
use self::ids::{ProviderId, SourceId, SubscriptionId};
use self::ports::{
    Clock, Gates, Leadership, Meter, Minter, Notices, ProviderClients, Publish, Random, Record,
};
use self::records::Write;
use self::state::State;
use self::timers::Alarm;
use crate::rotation::time::Moment;
use crate::shares::budget::Budgets;
use crate::shares::{Places, Waiting};

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

/// How the engine works; the defaults are those of a production process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls to providers and token sources at the same time, each.
    pub workers: usize,
    /// Records at the same time.
    pub recorders: usize,
    /// The engine looks at the clocks at least this often.
    pub tick: Duration,
    /// How long a deletion may be held up by a provider that cannot be called or does not delete.
    pub grace: Duration,
    /// How often `secret` sources are read.
    pub secret_poll_interval: Duration,
    /// Numbers for the metrics are gathered no more often than this.
    pub gauges_every: Duration,
    /// How long running steps may take to end when the engine is asked to stop.
    pub shutdown_limit: Duration,
}

impl Options {
    /// How many calls may be under way at the same time, all of them to one host in the worst case.
    #[must_use]
    pub fn calls(&self) -> usize {
        // Providers and token sources, each.
        self.workers.saturating_mul(2)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 16,
            recorders: 64,
            tick: Duration::from_secs(1),
            grace: Duration::from_secs(600),
            secret_poll_interval: Duration::from_secs(60),
            gauges_every: Duration::from_secs(5),
            shutdown_limit: Duration::from_secs(20),
        }
    }
}

/// Why the engine ended without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum EngineEnded {
    /// The shell went away.
    #[error("no more changes can arrive: the task that watches the objects has ended")]
    ShellEnded,
}

/// How many waiting subscriptions are reconciled before calls are looked after again.
const BATCH: usize = 256;

/// The deadline scheduler.
pub struct Engine {
    ports: Ports,
    options: Options,
    state: State,
    /// Subscriptions to be looked at now.
    reconcile_queue: Waiting<u64, SubscriptionId>,
    /// Numbers for what is in line by its arrival.
    arrivals: u64,
    jobs: FuturesUnordered<Job>,
    /// How many of them hand tokens to gates.
    offers: usize,
    /// Those that send requests to providers.
    workers: Places,
    /// The origin that had the last turn.
    last_origin: String,
    /// Not all turns that could be given have been.
    more_turns: bool,
    /// Those that obtain tokens.
    minters: Places,
    /// Mints that wait for a worker, by their deadline in epoch milliseconds.
    mint_queue: Waiting<(i64, SourceId), ()>,
    /// Listings that are being read, from their first page to their last.
    readings: Places,
    /// Listings that wait for such a place.
    reading_queue: Waiting<u64, ProviderId>,
    /// Those that write, and read what is not a provider's or a token server's.
    recorders: Places,
    /// Writes that wait for their turn.
    write_queue: Waiting<u64, Write>,
    synced: bool,
    stopping: bool,
    /// Wall time less boot time in milliseconds, to notice a clock that was set.
    clock_offset: Option<i64>,
    term: Option<u64>,
    next_gauges: Duration,
    next_tidying: Duration,
    /// The budgets of origins, where there are others in the process who send to them.
    budgets: Option<Budgets>,
}

impl Engine {
    /// Puts an engine together; nothing happens before [`Engine::run`].
    #[must_use]
    pub fn new(ports: Ports, options: Options) -> Self {
        let workers = options.workers;
        Self {
            state: State::default(),
            reconcile_queue: Waiting::default(),
            arrivals: 0,
            jobs: FuturesUnordered::new(),
            offers: 0,
            workers: Places::new(workers),
            last_origin: String::new(),
            more_turns: false,
            minters: Places::new(workers),
            mint_queue: Waiting::default(),
            // A listing takes memory for as long as it is read, however slowly it comes.
            readings: Places::new(workers.div_ceil(2)),
            reading_queue: Waiting::default(),
            recorders: Places::new(options.recorders),
            write_queue: Waiting::default(),
            ports,
            options,
            synced: false,
            stopping: false,
            clock_offset: None,
            term: None,
            next_gauges: Duration::ZERO,
            next_tidying: Duration::ZERO,
            budgets: None,
        }
    }

    /// The same, with others in the process who send requests to the same origins.
    #[must_use]
    pub(crate) fn sharing(mut self, budgets: Budgets) -> Self {
        self.budgets = Some(budgets);
        self
    }

    /// Works until `shutdown` ends, then lets running steps finish and be recorded.
    ///
    /// # Errors
    /// [`EngineEnded::ShellEnded`] when the sender of changes is dropped without a shutdown.
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), EngineEnded> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            self.turn();
            let wait = self.until_next_turn();
            let sleep = self.ports.clock.sleep(wait);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                change = changes.recv() => {
                    let Some(change) = change else { return Err(EngineEnded::ShellEnded) };
                    self.change(change);
                    for _ in 0..BATCH {
                        let Ok(change) = changes.try_recv() else { break };
                        self.change(change);
                    }
                }
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => self.finish(done),
                () = sleep => {}
            }
        }
        self.stop().await;
        Ok(())
    }

    /// When nothing runs, nobody may be kept busy and no place may be taken: a step that forgot to
    /// end would be waited for forever.
    fn is_consistent(&self) -> bool {
        if !self.jobs.is_empty() || !self.write_queue.is_empty() {
            return true;
        }
        self.workers.taken() == 0
            && self.minters.taken() == 0
            && self.recorders.taken() == 0
            && self.state.is_at_rest()
    }

    /// Everything that can be done without waiting.
    fn turn(&mut self) {
        debug_assert!(self.is_consistent(), "something is busy and nothing runs");
        let now = self.ports.clock.now();
        self.ports.meter.heartbeat();
        self.watch_clocks(now);
        self.watch_leadership(now);
        if !self.synced {
            return;
        }
        for _ in 0..BATCH {
            match self.state.timers.pop_due(now.boot) {
                Some(Alarm::Subscription(id)) => {
                    if let Some(entry) = self.state.entry_mut(id) {
                        entry.timer = None;
                    }
                    self.reconcile_soon(id);
                }
                Some(Alarm::Source(id)) => self.source_alarm(id, now),
                Some(Alarm::Provider(id)) => self.provider_alarm(id, now),
                Some(Alarm::Gates(id)) => self.gates_alarm(id, now),
                Some(Alarm::Renewal(id)) => self.renewal_alarm(id, now),
                None => break,
            }
        }
        for _ in 0..BATCH {
            let Some((_, _, id)) = self.reconcile_queue.next(|_| true) else {
                break;
            };
            self.reconcile(id, now);
        }
        self.reconcile_freed(now);
        self.tell_gates(now);
        self.keep_changed_providers(now);
        self.start_writes();
        if !self.stopping {
            self.start_mints(now);
            self.start_calls(now);
        }
        self.tidy(now);
        self.report_gauges(now);
    }

    fn until_next_turn(&mut self) -> Duration {
        if !self.reconcile_queue.is_empty() {
            return Duration::ZERO;
        }
        let moment = self.ports.clock.now();
        let now = moment.boot;
        let timer = self.state.timers.next().map_or(self.options.tick, |at| at.saturating_sub(now));
        let budget = self.next_budget(moment).map_or(self.options.tick, |at| at.saturating_sub(now));
        // Whole milliseconds, and never none at all, so that waiting always makes progress.
        timer.min(budget).min(self.options.tick).max(Duration::from_millis(1))
    }

    /// A new term begins with a look at everything; without a claim nothing is done outside.
    pub(super) fn watch_leadership(&mut self, now: Moment) {
        let term = self.ports.leadership.claim().map(|claim| claim.term);
        if term != self.term {
            self.term = term;
            if term.is_some() {
                if self.synced {
                    self.take_over(now);
                }
                self.reconcile_all();
            } else {
                self.forget_tokens();
            }
        }
    }

    /// Who may not act keeps no tokens: see [`tokens`].
    fn forget_tokens(&mut self) {
        for (_, source) in self.state.sources.iter_mut() {
            source.forget_tokens();
        }
    }

    /// Another process may have led until now: what this one holds, has read or has seen in a
    /// listing may be older than what that one brought.
    fn take_over(&mut self, now: Moment) {
        self.forget_tokens();
        for id in self.state.sources.numbers() {
            self.begin_source(SourceId(id), now);
        }
        for id in self.state.providers.numbers() {
            if let Some(provider) = self.state.provider_mut(ProviderId(id)) {
                provider.listing = None;
                provider.forget_reading();
            }
            self.begin_provider(ProviderId(id), now);
        }
    }

    /// A remote that somebody has just given up may have been deleted: an earlier listing says nothing.
    fn reconcile_freed(&mut self, now: Moment) {
        let again = std::mem::take(&mut self.state.looked_at_again);
        self.reconcile_each(again);
        for id in std::mem::take(&mut self.state.freed) {
            if let Some(entry) = self.state.entry_mut(id).filter(|entry| entry.expected.is_none()) {
                entry.remember(|memory| memory.listing_after = Some(now.wall));
            }
            self.reconcile_soon(id);
        }
    }

    fn reconcile_all(&mut self) {
        self.reconcile_each(self.state.subscriptions.numbers().into_iter().map(SubscriptionId));
    }

    /// Lets running steps finish and be recorded, within a limit.
    async fn stop(&mut self) {
        self.stopping = true;
        let limit = self.ports.clock.now().boot + self.options.shutdown_limit;
        loop {
            self.start_writes();
            let now = self.ports.clock.now().boot;
            // A gate that does not answer is not waited for: nothing is begun after it any more.
            if (self.jobs.len() <= self.offers && self.write_queue.is_empty()) || now >= limit {
                break;
            }
            let sleep = self.ports.clock.sleep(limit.saturating_sub(now));
            tokio::select! {
                biased;
                Some(done) = self.jobs.next(), if !self.jobs.is_empty() => {
                    self.finish(done);
                    let now = self.ports.clock.now();
                    while let Some((_, _, id)) = self.reconcile_queue.next(|_| true) {
                        self.reconcile(id, now);
                    }
                }
                () = sleep => break,
            }
        }
        if self.jobs.len() > self.offers {
            tracing::warn!(steps = self.jobs.len(), "stopping although some steps have not ended");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("synced", &self.synced)
            .field("jobs", &self.jobs.len())
            .finish()
    }
}
