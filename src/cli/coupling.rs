//! A gate beside an engine: what puts the two of one process together.

use std::sync::Arc;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gate_ports::{self, ChangedSources, EngineBudgets, OwnGate, StateStatuses};
use super::gating::{self, Gate};
use crate::engine::change::Change;
use crate::engine::ports::{Gates, Secrets};
use crate::gate::change::ReceiverChange;
use crate::gate::follow::follow;
use crate::shares::budget::Budgets;
use crate::sidecar::state::State;

/// What the gate and the engine have in common, from before there is either.
#[derive(Default)]
pub(super) struct Coupling {
    changed: ChangedSources,
    budgets: Budgets,
}

/// A gate and an engine that know of each other.
pub(super) struct Coupled {
    /// The gate, as the engine sees it.
    pub(super) gates: Arc<dyn Gates>,
    /// Whether all receivers that were there at the start are at work.
    pub(super) is_synced: watch::Receiver<bool>,
    /// What runs for it; none of them ends by itself.
    pub(super) tasks: Vec<JoinHandle<()>>,
}

impl Coupling {
    /// What a shell with an engine brings to the gate.
    pub(super) fn for_gate(&self, secrets: &Arc<dyn Secrets>, state: &State) -> gating::FromShell {
        let noted = self.changed.clone();
        let statuses = Arc::new(StateStatuses(state.clone()));
        gating::FromShell {
            engine: Some(Arc::new(move |source| noted.note(source))),
            others: Some(Arc::new(EngineBudgets(self.budgets.clone()))),
            ..gating::FromShell::without_cluster(Arc::clone(secrets), statuses)
        }
    }

    /// The budgets of the engine, which questions of the gate count in.
    pub(super) fn budgets(&self) -> Budgets {
        self.budgets.clone()
    }

    /// Begins to hand what is declared to the gate, and what the gate sees to the engine. `at_work` is
    /// called once, when all receivers that were there at the start are at work.
    pub(super) fn couple(
        self,
        gate: &Gate,
        changes: Receiver<ReceiverChange>,
        engine: Sender<Change>,
        at_work: impl FnOnce() + Send + 'static,
    ) -> Coupled {
        let (synced, is_synced) = watch::channel(false);
        let at_work = move || {
            synced.send_replace(true);
            at_work();
        };
        let tasks = vec![
            tokio::spawn(follow(gate.registry(), changes, at_work)),
            tokio::spawn(self.changed.tell(engine.clone())),
            tokio::spawn(gate_ports::tell_evidence(gate.evidence(), engine)),
        ];
        let gates = Arc::new(OwnGate { registry: gate.registry(), synced: is_synced.clone() });
        Coupled { gates, is_synced, tasks }
    }
}
