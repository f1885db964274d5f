//! The engine's ports, as views of the world.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use hookkeeper::api::{
    ObjectKey, Reason, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus, WebhookProviderStatus,
};
use hookkeeper::engine::Ports;
use hookkeeper::engine::ports::{
    CallFence, Claim, Clock, Gauges, Leadership, Lifetime, Meter, MintFailure, Minted, Minter, Notice,
    Notices, Publish, PublishFailure, Published, Random, Record, RecordFailure,
};
use hookkeeper::rotation::time::Moment;
use hookkeeper::secret::bounds::{Bounds, Owner};

use super::outside::Received;
use super::{CallFault, Manner, MintConduct, World, WriteFault};
use crate::canaries::{self, look};

impl World {
    /// The ports of one engine.
    pub fn ports(&self) -> Ports {
        let world = Arc::new(self.clone());
        Ports {
            clock: world.clone(),
            random: self.random.clone(),
            record: world.clone(),
            publish: world.clone(),
            gates: world.clone(),
            minter: world.clone(),
            provider_clients: world.clone(),
            leadership: world.clone(),
            notices: world.clone(),
            meter: world,
        }
    }

    /// Half of a call's time: the way there, or the way back.
    pub(super) async fn halfway(&self) {
        tokio::time::sleep(self.settings.latency / 2).await;
    }

    /// What reading or writing something durable takes.
    async fn disk(&self) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    /// Makes something durable; whoever waits for it can be killed before and after that.
    async fn durably<E>(
        &self,
        unavailable: fn(String) -> E,
        effect: impl FnOnce(&mut super::Outside) -> Result<(), E>,
    ) -> Result<(), E> {
        self.boundary().await;
        let fault = self.outside().next_write_fault();
        let sent = InFlight::new(self, effect);
        self.disk().await;
        let result = match fault {
            Some(WriteFault::Lost) => {
                sent.lose();
                Err(unavailable("the write was lost".into()))
            }
            Some(WriteFault::AnswerLost) => {
                sent.arrive().and_then(|()| Err(unavailable("the answer was lost".into())))
            }
            None => sent.arrive(),
        };
        self.boundary().await;
        self.disk().await;
        result
    }

    /// The fault of the next call, if there is one.
    pub(super) fn fault(&self, operation: &'static str, about: &str) -> Option<CallFault> {
        let mut outside = self.outside();
        let named = outside.fault_for.as_mut().and_then(|fault| fault(operation, about));
        named.or_else(|| outside.call_faults.pop_front())
    }
}

/// Nobody else writes the same meanwhile: of two writes, the older might arrive last.
struct Alone<'a> {
    world: &'a World,
    what: String,
}

impl<'a> Alone<'a> {
    fn new(world: &'a World, what: String) -> Self {
        if !world.outside().being_written.insert(what.clone()) {
            canaries::fault(format!("two writes at once: {what}"));
        }
        Self { world, what }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.world.outside().being_written.remove(&self.what);
    }
}

/// A request that is on its way: it may arrive although its sender is gone.
pub(super) struct InFlight<'a, T, Effect: FnOnce(&mut super::Outside) -> T> {
    world: &'a World,
    effect: Option<Effect>,
}

impl<'a, T, Effect: FnOnce(&mut super::Outside) -> T> InFlight<'a, T, Effect> {
    pub(super) fn new(world: &'a World, effect: Effect) -> Self {
        Self { world, effect: Some(effect) }
    }

    pub(super) fn arrive(mut self) -> T {
        let effect = self.effect.take().expect("a request arrives once");
        effect(&mut self.world.outside())
    }

    /// It never arrives.
    pub(super) fn lose(mut self) {
        self.effect = None;
    }
}

impl<T, Effect: FnOnce(&mut super::Outside) -> T> Drop for InFlight<'_, T, Effect> {
    fn drop(&mut self) {
        if let Some(effect) = self.effect.take()
            && self.world.outside().orphans.arrives()
        {
            effect(&mut self.world.outside());
        }
    }
}

/// Numbers that are the same in every run.
pub(super) struct Seeded(AtomicU64);

impl Default for Seeded {
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl Random for Seeded {
    fn bits(&self) -> u64 {
        // SplitMix64.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Clock for World {
    fn now(&self) -> Moment {
        Moment { wall: self.wall(), boot: self.began.elapsed() + self.outside().slept }
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

impl Leadership for World {
    fn claim(&self) -> Option<Claim> {
        let term = self.outside().term?;
        Some(Claim { term, until: self.now().after(Duration::from_secs(3_600)) })
    }
}

impl Notices for World {
    fn emit(&self, notice: Notice) {
        look("a notice", || format!("{notice:?}"));
        if self.is_cut_off() {
            return;
        }
        self.outside().notices.push(notice);
    }
}

impl Meter for World {
    fn rotation(&self, provider: &ObjectKey, outcome: Reason, lead: Option<f64>) {
        if let Some(metrics) = &self.outside().metrics {
            metrics.rotation(provider, outcome, lead);
        }
    }
    fn provider_gone(&self, provider: &ObjectKey) {
        if let Some(metrics) = &self.outside().metrics {
            metrics.provider_gone(provider);
        }
    }
    fn gate_behind(&self) {
        self.outside().gate.behind += 1;
        if let Some(metrics) = &self.outside().metrics {
            metrics.gate_behind();
        }
    }
    fn mint(&self, _: &'static str, _: Duration) {}
    fn provider_request(&self, _: &'static str, _: &'static str, _: Duration) {}
    fn gauges(&self, gauges: &Gauges) {
        look("the gauges", || format!("{gauges:?}"));
        let mut outside = self.outside();
        if let Some(metrics) = &outside.metrics {
            metrics.gauges(gauges);
        }
        outside.gauges = Some(gauges.clone());
    }
}

impl Record for World {
    fn subscription<'a>(
        &'a self,
        key: &'a ObjectKey,
        _: &'a str,
        status: &'a SubscriptionStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        look("a status", || serde_json::to_string(status).unwrap());
        Box::pin(async move {
            let _alone = Alone::new(self, format!("subscription {key}"));
            self.durably(RecordFailure::Unavailable, move |outside| {
                if !outside.subscriptions.contains_key(key) {
                    return Err(RecordFailure::Gone);
                }
                outside.records += 1;
                outside.conduct.seen(key, status);
                outside.statuses.insert(key.clone(), status.clone());
                Ok(())
            })
            .await
        })
    }

    fn token_source<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a TokenSourceStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        look("a status", || serde_json::to_string(status).unwrap());
        Box::pin(async move {
            let _alone = Alone::new(self, format!("source {key}"));
            let recorded = self
                .durably(RecordFailure::Unavailable, move |outside| {
                    outside.judge_named_token(key, status);
                    outside.source_statuses.insert(key.clone(), status.clone());
                    Ok(())
                })
                .await;
            self.token_is_named(key);
            recorded
        })
    }

    fn provider<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a WebhookProviderStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        look("a status", || serde_json::to_string(status).unwrap());
        Box::pin(async move {
            let _alone = Alone::new(self, format!("provider {key}"));
            self.durably(RecordFailure::Unavailable, move |outside| {
                outside.provider_statuses.insert(key.clone(), status.clone());
                Ok(())
            })
            .await
        })
    }

    fn set_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        _: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.durably(RecordFailure::Unavailable, move |outside| {
            if wanted {
                outside.finalizers.insert(key.clone());
            } else {
                outside.finalizers.remove(key);
            }
            Ok(())
        }))
    }

    fn set_provider_finalizer<'a>(
        &'a self,
        key: &'a ObjectKey,
        _: &'a str,
        wanted: bool,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.durably(RecordFailure::Unavailable, move |outside| {
            if wanted {
                outside.provider_finalizers.insert(key.clone());
            } else {
                outside.provider_finalizers.remove(key);
            }
            Ok(())
        }))
    }

    fn release<'a>(&'a self, key: &'a ObjectKey, _: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(self.durably(RecordFailure::Unavailable, move |outside| {
            outside.released.push(key.clone());
            outside.forget(key);
            Ok(())
        }))
    }
}

impl Publish for World {
    fn read<'a>(
        &'a self,
        source: &'a ObjectKey,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Published>, PublishFailure>> {
        Box::pin(async move {
            self.boundary().await;
            self.disk().await;
            Ok(self.outside().published.get(source).cloned())
        })
    }

    fn write<'a>(
        &'a self,
        source: &'a ObjectKey,
        _: &'a str,
        tokens: &'a Published,
    ) -> BoxFuture<'a, Result<(), PublishFailure>> {
        Box::pin(self.durably(PublishFailure::Unavailable, move |outside| {
            outside.published.insert(source.clone(), tokens.clone());
            Ok(())
        }))
    }
}

impl Minter for World {
    fn mint<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a TokenSourceSpec,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>> {
        Box::pin(async move {
            self.boundary().await;
            let timeout = fence.cut(source.timeout())?;
            let about = serde_json::to_string(source).unwrap();
            let asked = self.wall();
            let received =
                Received { at: asked, namespace: namespace.into(), operation: "mint", about: about.clone() };
            self.outside().received.push(received);
            let conduct = self.outside().conduct.of_mint(namespace, &about);
            let life = match conduct {
                Some(MintConduct::Hangs) => {
                    tokio::time::sleep(timeout).await;
                    return Err(MintFailure::Unanswered { what: format!("no answer within {timeout:?}") });
                }
                Some(MintConduct::Refuses(failure)) => {
                    self.halfway().await;
                    self.halfway().await;
                    return Err(failure);
                }
                Some(MintConduct::Lives(life)) => Some(life),
                None => None,
            };
            if let Some(from) = &source.secret {
                self.halfway().await;
                let (token, version) = self.outside().secrets[&from.name].clone();
                let (token, version) = (token.into(), Some(version.to_string()));
                let mut bounds = Bounds::default();
                if let Some(hosts) = self.outside().secret_hosts.get(&from.name) {
                    bounds.confine(Owner::Secret(from.name.clone()), hosts);
                }
                return Ok(Minted { token, lifetime: Lifetime::Unknown, version, bounds });
            }
            let sent = InFlight::new(self, move |outside: &mut super::Outside| {
                if let Some(failure) = outside.mint_fault.as_mut().and_then(|fault| fault(&about)) {
                    return Err(failure);
                }
                let now = self.at(outside);
                let token = match life {
                    Some(life) => outside.issue_for(&about, life, asked, now),
                    None => outside.issue(&about, asked, now),
                };
                let left = (outside.tokens[&token].expires - now).to_std().unwrap_or_default();
                let left = left.saturating_sub(self.settings.latency);
                let assumed = source.assumed_lifetime.as_ref().map(|life| life.to_std());
                let lifetime = match outside.manner {
                    Manner::SaysNothing => Lifetime::assumed(assumed),
                    Manner::Contradicts => {
                        let later = left + Duration::from_secs(3_600);
                        Lifetime::Contradicted { earlier: left, later }
                    }
                    _ => Lifetime::Stated(left),
                };
                let token = token.into();
                Ok(Minted { token, lifetime, version: None, bounds: Bounds::default() })
            });
            self.halfway().await;
            let minted = sent.arrive();
            self.boundary().await;
            self.halfway().await;
            minted
        })
    }
}
