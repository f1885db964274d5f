//! Which of several processes acts: a `Lease` object, held by one of them at a time.
//!
//! The claim that comes of it carries its own end, counted on both clocks from before the request
//! that renewed it was sent. A process that was paused finds its claim ended by itself, and a step
//! belongs to the term in which it was decided: terms are the lease's own count of transitions, so
//! that no two times of leading share one, even of one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::record::is;
use crate::engine::ports::{Claim, Clock, Leadership};
use crate::rotation::time::Moment;

/// How a lease is held.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Namespace of the `Lease`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are: unique among all that want it.
    pub identity: String,
    /// How long a claim lasts after it was renewed.
    pub duration: Duration,
}

impl LeaseSettings {
    /// A healthy leader has several attempts before its claim ends.
    fn renew_every(&self) -> Duration {
        self.duration * 2 / 9
    }

    fn retry_every(&self) -> Duration {
        (self.duration / 20).clamp(Duration::from_millis(200), Duration::from_secs(2))
    }
}

/// Where the claim stands.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// The lease is ours: the term and the end of the claim.
    held: Option<Claim>,
    /// The term in which everything recorded by others has been taken in; only then we act.
    ready: Option<u64>,
}

/// The claim, as the engine asks for it.
#[derive(Clone)]
pub struct Election {
    standing: Arc<Mutex<Standing>>,
    clock: Arc<dyn Clock>,
    /// Somebody else has written in our term, or so it seems: the lease is given up and won anew.
    step_down: Arc<Notify>,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Election")
    }
}

impl Election {
    /// Nothing is claimed yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { standing: Arc::default(), clock, step_down: Arc::default() }
    }

    /// Gives the lease up at the next opportunity, and competes for it again.
    pub fn step_down(&self) {
        self.step_down.notify_one();
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn is_in_force(claim: &Claim, now: Moment) -> bool {
    now.wall < claim.until.wall && now.boot < claim.until.boot
}

impl Leadership for Election {
    fn claim(&self) -> Option<Claim> {
        let standing = *self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = standing.held.filter(|claim| standing.ready == Some(claim.term))?;
        is_in_force(&claim, self.clock.now()).then_some(claim)
    }
}

/// What was seen of the lease, and when by our own clock: others' clocks are not believed.
#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    at: Duration,
}

/// Competes for the lease, and renews it.
pub(super) struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    /// Asks for everything to be listed again.
    round: watch::Sender<u64>,
    /// Tells which rounds are complete.
    listed: watch::Receiver<u64>,
}

impl Candidate {
    pub(super) fn new(
        client: Client,
        settings: LeaseSettings,
        election: Election,
        round: watch::Sender<u64>,
        listed: watch::Receiver<u64>,
    ) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        Self { api, settings, election, round, listed }
    }

    /// Competes until `done` ends; then the lease is released, so that another one need not wait.
    pub(super) async fn run(mut self, done: impl Future<Output = ()>) {
        let mut done = std::pin::pin!(done);
        loop {
            let (lease, claim) = tokio::select! {
                () = &mut done => return,
                acquired = self.acquire() => acquired,
            };
            info!(term = claim.term, lease = %self.settings.name, "leading");
            let held = tokio::select! {
                biased;
                () = &mut done => None,
                () = self.hold(lease, claim) => Some(()),
            };
            self.election.change(|standing| *standing = Standing::default());
            if held.is_none() {
                self.release().await;
                return;
            }
            warn!("not leading any more; what is under way ends without an effect");
        }
    }

    /// Waits until the lease is ours.
    async fn acquire(&self) -> (Lease, Claim) {
        let mut seen: Option<Seen> = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(acquired)) => return acquired,
                Ok(None) => {}
                Err(error) if is(&error, 409) => {}
                Err(error) => warn!("the lease {} cannot be had: {error}", self.settings.name),
            }
            tokio::time::sleep(self.settings.retry_every()).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<(Lease, Claim)>, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None, 1)),
            };
            let asked = self.election.clock.now();
            let lease = self.api.create(&PostParams::default(), &lease).await?;
            return Ok(Some(self.claimed(lease, asked)));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let now = self.election.clock.now();
        let is_free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        let since = match seen {
            Some(before) if before.spec == spec => before.at,
            _ => {
                *seen = Some(Seen { spec: spec.clone(), at: now.boot });
                now.boot
            }
        };
        let life = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        let is_over = now.boot.saturating_sub(since) >= Duration::from_secs(life).max(self.settings.duration);
        if !is_free && !is_over {
            return Ok(None);
        }
        lease.spec = Some(self.spec(None, spec.lease_transitions.unwrap_or_default().saturating_add(1)));
        // The resourceVersion that was read goes along: of several who try, one succeeds.
        let lease = self.api.replace(&self.settings.name, &PostParams::default(), &lease).await?;
        Ok(Some(self.claimed(lease, now)))
    }

    fn spec(&self, before: Option<&LeaseSpec>, transitions: i32) -> LeaseSpec {
        let now = Timestamp::from_microsecond(self.election.clock.now().wall.timestamp_micros());
        let now = now.ok().map(MicroTime);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            // Rounded up: others must not take it before our claim has ended.
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs_f64().ceil() as i64).ok(),
            acquire_time: before.map_or_else(|| now.clone(), |before| before.acquire_time.clone()),
            renew_time: now.clone(),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn claimed(&self, lease: Lease, asked: Moment) -> (Lease, Claim) {
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let term = transitions.and_then(|term| u64::try_from(term).ok()).unwrap_or_default();
        (lease, Claim { term, until: asked.after(self.settings.duration) })
    }

    /// Holds the lease until it is lost or given up. What others have recorded is read first: until
    /// everything has been listed, nothing is done.
    async fn hold(&mut self, mut lease: Lease, mut claim: Claim) {
        self.election.change(|standing| *standing = Standing { held: Some(claim), ready: None });
        self.round.send_modify(|round| *round += 1);
        let wanted = *self.round.borrow() + 1;
        let step_down = Arc::clone(&self.election.step_down);
        let mut wait = self.settings.renew_every();
        loop {
            tokio::select! {
                () = step_down.notified() => {
                    warn!("another process has written what only the leader writes; the lease is given up");
                    self.release().await;
                    return;
                }
                changed = self.listed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *self.listed.borrow_and_update() >= wanted {
                        self.election.change(|standing| standing.ready = Some(claim.term));
                    }
                }
                () = tokio::time::sleep(wait) => match self.renew(&lease).await {
                    Ok((renewed, until)) => {
                        lease = renewed;
                        claim.until = until;
                        self.election.change(|standing| standing.held = Some(claim));
                        wait = self.settings.renew_every();
                    }
                    Err(error) if is(&error, 409) || is(&error, 404) => {
                        warn!("the lease was taken by another process");
                        return;
                    }
                    Err(error) => {
                        warn!("the lease could not be renewed; it is tried again: {error}");
                        if !is_in_force(&claim, self.election.clock.now()) {
                            return;
                        }
                        wait = self.settings.retry_every();
                    }
                },
            }
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<(Lease, Moment), kube::Error> {
        let before = lease.spec.clone().unwrap_or_default();
        let spec = self.spec(Some(&before), before.lease_transitions.unwrap_or_default());
        let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
        let asked = self.election.clock.now();
        let lease = self.api.replace(&self.settings.name, &PostParams::default(), &lease).await?;
        Ok((lease, asked.after(self.settings.duration)))
    }

    /// Lets another process have the lease at once, if it is still ours.
    async fn release(&self) {
        self.election.change(|standing| *standing = Standing::default());
        let Ok(Some(mut lease)) = self.api.get_opt(&self.settings.name).await else {
            return;
        };
        let Some(spec) = &mut lease.spec else { return };
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
            return;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        if let Err(error) = self.api.replace(&self.settings.name, &PostParams::default(), &lease).await {
            warn!("the lease could not be released; another process has to wait for its end: {error}");
        }
    }
}
