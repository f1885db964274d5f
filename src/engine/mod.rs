//! The engine: carries out what the rules decide, at the time they decide it.
//!
//! ```text
//!  event (change, answer, claim, time)
//!    └─▶ handle(state, event, now) ─▶ effects (start a call, write, tell, count)
//!          └─▶ the loop carries them out, and brings what comes of them back as events
//! ```
//!
//! One task owns all state. The loop in this file takes changes from a shell and answers from calls, and
//! hands them to [`handle`](handle::handle), which changes the state and says what follows. Calls run
//! beside it as futures that own what they need and report back; none of them touches the state, so a
//! panic in one stays with its object, and dropping the engine at any await drops everything at once.
//! Whatever happens, happens between two effects: a crash is a list of effects that was cut off.
//!
//! # Modules
//!
//! | module | holds | holds not |
//! |---|---|---|
//! | [`ports`], [`change`] | the outside as small traits, and what a shell hands over | anything of ours |
//! | `event`, `effect` | what `handle` takes and gives | what is done about it |
//! | `handle` | which handler takes which event; one turn of time | rules |
//! | `perform` | effects as futures, with an end, a fence and their panic caught | state |
//! | `state` | subscriptions, sources, providers, claims, and their indexes | anything that follows from a change |
//! | `queue` | what waits, as plain types: timers, lines, origins with their breakers, paces | whose it is |
//! | `dispatch` | whose turn it is: who is looked at, places, pauses, calls and writes that begin | what is done in a turn |
//! | `intake` | what changes of the desired state mean | calls |
//! | `reconcile` | one subscription: asking the rules, doing what they say, making it durable | what answers mean |
//! | `calls` | what answers of providers mean | listings |
//! | `sources` | mints, what is published, what gates take in | subscriptions, but for whom to look at |
//! | `providers` | listings, comparing, status, what is kept for deletions, whose account it is | calls for subscriptions |
//! | `upkeep` | clocks that are set, what is forgotten, numbers for the metrics | |
//!
//! # Why not kube's `Controller`
//! Its runtime is built around reconciling on events: a watch event bypasses the delay an error
//! asked for, an earlier requeue is dropped when a later run returns, a hung reconcile keeps its
//! slot, one panic ends the controller, and there is no attempt count, no order by deadline and no
//! budget for each provider. This product is a deadline scheduler, so the scheduler is its own:
//! one queue ordered by deadline, one entry for each object, each entry recomputed from `decide` on
//! every change.

mod account;
mod calls;
pub mod change;
mod class;
mod dispatch;
mod effect;
mod event;
mod handle;
mod ids;
mod intake;
mod listings;
mod options;
mod perform;
pub mod ports;
mod providers;
mod queue;
mod reading;
mod reconcile;
mod sent;
mod served;
mod sources;
pub(crate) mod state;
mod subscriptions;
#[cfg(test)]
mod tests;
mod turn;
mod turns;
mod upkeep;
mod write;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use self::change::Change;
use self::event::Event;
use self::handle::{handle, idle_for};
pub use self::options::Options;
use self::perform::{Job, perform};
pub use self::ports::Ports;
use self::state::State;
use self::turn::Around;
use crate::shares::budget::Budgets;

/// How many changes are taken in before anything else is looked at.
const BATCH: usize = 256;

/// Why the engine ended without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum EngineEnded {
    /// The shell went away.
    #[error("no more changes can arrive: the task that watches the objects has ended")]
    ShellEnded,
}

/// The deadline scheduler: the loop around [`handle`](handle::handle).
pub struct Engine {
    ports: Ports,
    state: State,
    jobs: FuturesUnordered<Job>,
}

impl Engine {
    /// Puts an engine together; nothing happens before [`Engine::run`].
    #[must_use]
    pub fn new(ports: Ports, options: Options) -> Self {
        Self { ports, state: State::new(options), jobs: FuturesUnordered::new() }
    }

    /// The same, with others in the process who send requests to the same origins.
    #[must_use]
    pub(crate) fn sharing(mut self, budgets: Budgets) -> Self {
        self.state.budgets = Some(budgets);
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
            debug_assert!(
                !self.jobs.is_empty() || self.state.is_at_rest(),
                "something is busy and nothing runs"
            );
            self.ports.meter.heartbeat();
            self.watch_claim();
            self.step(Event::Time);
            let wait = idle_for(&mut self.state, self.ports.clock.now());
            let sleep = self.ports.clock.sleep(wait);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                change = changes.recv() => {
                    let Some(change) = change else { return Err(EngineEnded::ShellEnded) };
                    self.take_in(change);
                    for _ in 0..BATCH {
                        let Ok(change) = changes.try_recv() else { break };
                        self.take_in(change);
                    }
                }
                Some((ticket, ended)) = self.jobs.next(), if !self.jobs.is_empty() => {
                    self.step(Event::Ended(ticket, Box::new(ended)));
                }
                () = sleep => {}
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Hands an event over, and carries out what follows.
    fn step(&mut self, event: Event) {
        let around = Around { gates: &*self.ports.gates, random: &*self.ports.random };
        for effect in handle(&mut self.state, event, self.ports.clock.now(), around) {
            self.jobs.extend(perform(&self.ports, effect));
        }
    }

    fn take_in(&mut self, change: Change) {
        // What is recorded is believed from others only while another process leads.
        self.watch_claim();
        let resolved = match &change {
            Change::Provider(declared) => {
                Some(self.ports.provider_clients.resolve(&declared.identity.key, &declared.spec))
            }
            _ => None,
        };
        self.step(Event::Change(Box::new(change), resolved));
    }

    fn watch_claim(&mut self) {
        let term = self.ports.leadership.claim().map(|claim| claim.term);
        if term != self.state.term {
            self.step(Event::Claim(term));
        }
    }

    /// Lets running steps finish and be recorded, within a limit.
    async fn stop(&mut self) {
        self.step(Event::Stop);
        let limit = self.ports.clock.now().boot + self.state.options.shutdown_limit;
        loop {
            let now = self.ports.clock.now().boot;
            // A gate that does not answer is not waited for: nothing is begun after it any more.
            let is_done = self.jobs.len() <= self.state.offers && self.state.waiting.writes.is_empty();
            if is_done || now >= limit {
                break;
            }
            let sleep = self.ports.clock.sleep(limit.saturating_sub(now));
            tokio::select! {
                biased;
                Some((ticket, ended)) = self.jobs.next(), if !self.jobs.is_empty() => {
                    self.step(Event::Ended(ticket, Box::new(ended)));
                }
                () = sleep => break,
            }
        }
        if self.jobs.len() > self.state.offers {
            tracing::warn!(steps = self.jobs.len(), "stopping although some steps have not ended");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("synced", &self.state.synced)
            .field("jobs", &self.jobs.len())
            .finish()
    }
}
