//! Which of several processes acts: a `Lease` object, held by one of them at a time.
//!
//! A step belongs to the term in which it was decided: each time of leading counts as a new one.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::client::{is, words};
use super::election::{ClaimState, Election, Surprises, is_in_force, until_then};
use crate::engine::ports::Claim;
use crate::rotation::time::Moment;

/// A shorter lease would be all renewals.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long a lease lasts, by its own words, after it was released.
const RELEASED_SECONDS: i32 = 1;

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

    /// A call that hangs leaves time for another one before the claim ends.
    fn call_timeout(&self) -> Duration {
        self.duration / 3
    }
}

/// What was seen of the lease, and when by our own clock: others' clocks are not believed.
#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    at: Duration,
}

/// Why a call about the lease has not helped.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the API server does not answer")]
    Silent,
    #[error("{}", words(.0))]
    Failed(kube::Error),
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        Self::Failed(error)
    }
}

/// What became of a renewal.
enum Renewal {
    /// The claim lasts until then.
    Renewed(Lease, Moment),
    /// It is ours in a version that we did not know: an answer was lost.
    Found(Lease),
    Lost,
}

/// Competes for the lease, and renews it.
pub(super) struct Candidate {
    api: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    /// How often this process has begun to lead.
    term: u64,
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
        let settings = LeaseSettings { duration: settings.duration.max(SHORTEST), ..settings };
        Self { api, settings, election, term: 0, round, listed }
    }

    /// Competes until `done` ends; then the lease is released, so that another one need not wait.
    pub(super) async fn run(mut self, done: impl Future<Output = ()>) {
        let mut done = std::pin::pin!(done);
        loop {
            let (lease, until) = tokio::select! {
                () = &mut done => return,
                acquired = self.acquire() => acquired,
            };
            info!(lease = %self.settings.name, "leading");
            let held = tokio::select! {
                biased;
                () = &mut done => None,
                () = self.hold(lease, until) => Some(()),
            };
            self.election.change(|state| *state = ClaimState::default());
            if held.is_none() {
                self.release().await;
                return;
            }
            warn!("not leading any more; what is under way ends without an effect");
        }
    }

    /// Waits until the lease is ours.
    async fn acquire(&self) -> (Lease, Moment) {
        let mut seen: Option<Seen> = None;
        let mut is_new = true;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(acquired)) => return acquired,
                Ok(None) => is_new = true,
                Err(Trouble::Failed(error)) if is(&error, 409) => {}
                // Told once: an outage must not flood the log.
                Err(trouble) if std::mem::take(&mut is_new) => {
                    warn!("the lease {} cannot be had; it is tried again: {trouble}", self.settings.name);
                }
                Err(trouble) => debug!("the lease {} cannot be had: {trouble}", self.settings.name),
            }
            tokio::time::sleep(self.settings.retry_every()).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<(Lease, Moment)>, Trouble> {
        let found = self.call(self.api.get_opt(&self.settings.name)).await?;
        let now = self.election.clock.now();
        let Some(mut lease) = found else {
            // Whoever held it when somebody deleted it may not know yet.
            if seen.as_ref().is_some_and(|seen| !is_released(&seen.spec) && !self.is_over(seen, now)) {
                return Ok(None);
            }
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None, 1)),
            };
            let lease = self.call(self.api.create(&PostParams::default(), &lease)).await?;
            return Ok(Some((lease, now.after(self.settings.duration))));
        };
        let spec = lease.spec.clone().unwrap_or_default();
        // Won by a request whose answer was lost, or never released.
        let is_ours = spec.holder_identity.as_deref() == Some(&self.settings.identity);
        let known = match seen {
            Some(before) if before.spec == spec => before,
            _ => seen.insert(Seen { spec: spec.clone(), at: now.boot }),
        };
        if !is_ours && !is_released(&spec) && !self.is_over(known, now) {
            return Ok(None);
        }
        lease.spec = Some(self.spec(None, spec.lease_transitions.unwrap_or_default().saturating_add(1)));
        // The resourceVersion that was read goes along: of several who try, one succeeds.
        let lease = self.call(self.api.replace(&self.settings.name, &PostParams::default(), &lease)).await?;
        Ok(Some((lease, now.after(self.settings.duration))))
    }

    /// Whether the claim of whoever held it as it was seen must have ended.
    fn is_over(&self, seen: &Seen, now: Moment) -> bool {
        let life = u64::try_from(seen.spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        now.boot.saturating_sub(seen.at) >= Duration::from_secs(life).max(self.settings.duration)
    }

    fn spec(&self, before: Option<&LeaseSpec>, transitions: i32) -> LeaseSpec {
        let now = Timestamp::from_microsecond(self.election.clock.now().wall.timestamp_micros());
        let now = now.ok().map(MicroTime);
        // Rounded up: others must not take it before our claim has ended.
        let seconds = self.settings.duration.as_millis().div_ceil(1_000);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            acquire_time: before.map_or_else(|| now.clone(), |before| before.acquire_time.clone()),
            renew_time: now.clone(),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Begins to lead, or to lead again. What others have recorded is read first: until everything has
    /// been listed, nothing is done. Returns the round of lists that must be complete.
    fn begin_term(&mut self, until: Moment) -> u64 {
        self.term += 1;
        let held = Some(Claim { term: self.term, until });
        self.election.change(|state| *state = ClaimState { held, ready: None });
        self.round.send_modify(|round| *round += 1);
        *self.round.borrow() + 1
    }

    /// Holds the lease until it is lost.
    async fn hold(&mut self, mut lease: Lease, mut until: Moment) {
        let step_down = Arc::clone(&self.election.step_down);
        // What an earlier term was surprised by is read again now.
        let _ = step_down.notified().now_or_never();
        let mut wanted = self.begin_term(until);
        let mut renew_at = Instant::now() + self.settings.renew_every();
        let mut surprises = Surprises::new(Instant::now());
        loop {
            tokio::select! {
                () = step_down.notified(), if surprises.next_term.is_none() => {
                    surprises.came(Instant::now());
                    // It may be another process's lease by now.
                    renew_at = Instant::now();
                }
                () = until_then(surprises.next_term) => {
                    warn!("a status was written by somebody else, perhaps another leader; everything is read again");
                    surprises.term_begins(Instant::now());
                    wanted = self.begin_term(until);
                }
                changed = self.listed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *self.listed.borrow_and_update() >= wanted {
                        self.election.change(|state| state.ready = Some(self.term));
                    }
                }
                () = tokio::time::sleep_until(renew_at) => match self.renew(&lease).await {
                    Ok(Renewal::Renewed(renewed, end)) => {
                        (lease, until) = (renewed, end);
                        let claim = Claim { term: self.term, until };
                        self.election.change(|state| state.held = Some(claim));
                        let is_in_force = is_in_force(&claim, self.election.clock.now());
                        let wait = if is_in_force { self.settings.renew_every() } else { Duration::ZERO };
                        renew_at = Instant::now() + wait;
                    }
                    Ok(Renewal::Found(found)) => {
                        lease = found;
                        renew_at = Instant::now();
                    }
                    Ok(Renewal::Lost) => {
                        warn!("the lease was taken by another process");
                        return;
                    }
                    Err(trouble) => {
                        warn!("the lease could not be renewed; it is tried again: {trouble}");
                        let claim = Claim { term: self.term, until };
                        if !is_in_force(&claim, self.election.clock.now()) {
                            return;
                        }
                        renew_at = Instant::now() + self.settings.retry_every();
                    }
                },
            }
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Renewal, Trouble> {
        let before = lease.spec.clone().unwrap_or_default();
        let spec = self.spec(Some(&before), before.lease_transitions.unwrap_or_default());
        let wanted = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
        let asked = self.election.clock.now();
        match self.call(self.api.replace(&self.settings.name, &PostParams::default(), &wanted)).await {
            Ok(lease) => Ok(Renewal::Renewed(lease, asked.after(self.settings.duration))),
            Err(Trouble::Failed(error)) if is(&error, 404) => Ok(Renewal::Lost),
            Err(Trouble::Failed(error)) if is(&error, 409) => {
                let found = self.call(self.api.get_opt(&self.settings.name)).await?;
                Ok(found.filter(|found| is_same_term(found, lease)).map_or(Renewal::Lost, Renewal::Found))
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Lets another process have the lease at once, if it is still ours.
    async fn release(&self) {
        match self.call(self.give_up()).await {
            Ok(()) => info!(lease = %self.settings.name, "the lease is released"),
            Err(trouble) => {
                warn!("the lease could not be released; another process has to wait for its end: {trouble}");
            }
        }
    }

    async fn give_up(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else {
            return Ok(());
        };
        let Some(spec) = &mut lease.spec else { return Ok(()) };
        if spec.holder_identity.as_deref() == Some(&self.settings.identity) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(RELEASED_SECONDS);
            self.api.replace(&self.settings.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Trouble> {
        let answer = tokio::time::timeout(self.settings.call_timeout(), call).await;
        Ok(answer.map_err(|_| Trouble::Silent)??)
    }
}

/// Whether its holder has let it go. One whose holder somebody has merely struck out may still be
/// acted upon.
fn is_released(spec: &LeaseSpec) -> bool {
    let is_nobodys = spec.holder_identity.as_deref().is_none_or(str::is_empty);
    is_nobodys && spec.lease_duration_seconds.is_none_or(|seconds| seconds <= RELEASED_SECONDS)
}

/// Whether nobody else can have held it since: every change of its holder counts.
fn is_same_term(found: &Lease, held: &Lease) -> bool {
    let of = |lease: &Lease| {
        let spec = lease.spec.as_ref()?;
        Some((lease.metadata.uid.clone(), spec.holder_identity.clone(), spec.lease_transitions))
    };
    of(found) == of(held)
}
