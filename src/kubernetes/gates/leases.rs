//! Watching the Leases of gates.
//!
//! A list is the truth about deletions: what it does not contain is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tracing::warn;

use super::board::Board;
use super::presence::MOST_GATES;
use crate::kubernetes::client::{WATCH_SECONDS, words};
use crate::kubernetes::gate_lease::{GATE_LABEL, GATE_LABEL_VALUE, GateRecord, NotAGate};
use crate::ops::causes::told;

/// How long to wait after a failure, doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A list of which nothing more has come for this long is begun again; a watch may be silent.
const LIST_SILENCE: Duration = Duration::from_secs(30);

/// Watches the Leases of gates in one namespace.
pub(in crate::kubernetes) struct LeaseWatch {
    pub(in crate::kubernetes) client: Client,
    /// Where gates have their Leases.
    pub(in crate::kubernetes) namespace: String,
    pub(in crate::kubernetes) board: Board,
}

impl LeaseWatch {
    /// Watches for as long as the process runs.
    pub(in crate::kubernetes) async fn run(self) {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let config = watcher::Config::default()
            .labels(&format!("{GATE_LABEL}={GATE_LABEL_VALUE}"))
            .timeout(WATCH_SECONDS);
        let mut troubles = Troubles::default();
        loop {
            let mut events = std::pin::pin!(watcher::watcher(api.clone(), config.clone()));
            let mut listed: BTreeSet<String> = BTreeSet::new();
            let mut is_listing = true;
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = tokio::time::sleep(LIST_SILENCE), if is_listing => {
                        warn!("the API server does not answer; the Leases of gates are listed again");
                        break;
                    }
                };
                match event {
                    None => break,
                    Some(Ok(Event::Init)) => {
                        is_listing = true;
                        listed.clear();
                    }
                    Some(Ok(Event::InitApply(lease))) => {
                        listed.insert(lease.name_any());
                        self.see(&lease, &mut troubles);
                    }
                    Some(Ok(Event::InitDone)) => {
                        self.board.gates_listed(&listed);
                        is_listing = false;
                        troubles.wait = None;
                    }
                    Some(Ok(Event::Apply(lease))) => self.see(&lease, &mut troubles),
                    Some(Ok(Event::Delete(lease))) => self.board.gate_lost(&lease.name_any()),
                    Some(Err(error)) => {
                        let wait = troubles.watch_failed(&error);
                        tokio::time::sleep(wait).await;
                    }
                }
            }
        }
    }

    fn see(&self, lease: &Lease, troubles: &mut Troubles) {
        let name = lease.name_any();
        let record = match GateRecord::of(lease) {
            Ok(record) => record,
            // It is there, and nobody can say what it serves.
            Err(problem @ NotAGate::Unreadable { .. }) => {
                troubles.tell(&name, &problem.to_string());
                GateRecord { gate: name.clone(), is_complete: false, ..GateRecord::default() }
            }
            Err(problem) => {
                troubles.tell(&name, &problem.to_string());
                return self.board.gate_lost(&name);
            }
        };
        if !self.board.gate_seen(record, &lease.resource_version().unwrap_or_default()) {
            troubles.tell(&name, &format!("there are more than {MOST_GATES} Leases of gates"));
        }
    }
}

/// What went wrong, told once.
#[derive(Default)]
struct Troubles {
    told: BTreeSet<String>,
    wait: Option<Duration>,
}

impl Troubles {
    fn tell(&mut self, lease: &str, problem: &str) {
        // Whoever writes Leases must not fill the memory or the log.
        if self.told.len() < MOST_GATES && self.told.insert(lease.to_owned()) {
            warn!(%lease, "what this Lease says of a gate is not heard: {problem}");
        }
    }

    /// Returns how long to wait before it is tried again.
    fn watch_failed(&mut self, error: &watcher::Error) -> Duration {
        let what = match error {
            watcher::Error::InitialListFailed(failed)
            | watcher::Error::WatchStartFailed(failed)
            | watcher::Error::WatchFailed(failed) => words(failed),
            error => told(error),
        };
        if self.wait.is_none() {
            warn!(
                "the Leases of gates cannot be watched, so nobody knows which gates are there; it is tried again: {what}"
            );
        }
        let wait = self.wait.map_or(FIRST_WAIT, |before| (before * 2).min(LONGEST_WAIT));
        self.wait = Some(wait);
        wait
    }
}
