//! The engine's ports, as views of the world.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use hookkeeper::api::{
    ObjectKey, Reason, SubscriptionStatus, TokenSourceSpec, TokenSourceStatus, WebhookProviderSpec,
    WebhookProviderStatus, WebhookSubscriptionSpec,
};
use hookkeeper::engine::Ports;
use hookkeeper::engine::ports::{
    Applied, CallFailure, CallGuard, Claim, Clock, Document, Gauges, Invalid, Leadership, Listing, Meter,
    MintFailure, Minted, Minter, Notice, Notices, ProviderProfile, Publish, PublishFailure, Published,
    Random, Record, RecordFailure, Refusal, Remote, RemoteSubscription, Remotes,
};
use hookkeeper::rotation::target::short_digest;
use hookkeeper::rotation::time::Moment;

use super::{CallFault, World};
use crate::canaries::look;

impl World {
    /// The ports of one engine.
    pub fn ports(&self) -> Ports {
        let world = Arc::new(self.clone());
        Ports {
            clock: world.clone(),
            random: self.random.clone(),
            record: world.clone(),
            publish: world.clone(),
            minter: world.clone(),
            remotes: world.clone(),
            leadership: world.clone(),
            notices: world.clone(),
            meter: world,
        }
    }

    async fn latency(&self) {
        tokio::time::sleep(self.settings.latency).await;
    }

    /// The fault of the next call, if there is one.
    fn fault(&self, operation: &'static str, about: &str) -> Option<CallFault> {
        let mut outside = self.outside();
        let named = outside.fault_for.as_mut().and_then(|fault| fault(operation, about));
        named.or_else(|| outside.call_faults.pop_front())
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
        Moment { wall: self.wall(), boot: self.began.elapsed() }
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

impl Leadership for World {
    fn claim(&self) -> Option<Claim> {
        Some(Claim { term: 1, until: self.now().after(Duration::from_secs(3_600)) })
    }
}

impl Notices for World {
    fn tell(&self, notice: Notice) {
        look("a notice", || format!("{notice:?}"));
        self.outside().notices.push(notice);
    }
}

impl Meter for World {
    fn rotation(&self, _: &ObjectKey, _: Reason, _: Option<f64>) {}
    fn mint(&self, _: &'static str, _: Duration) {}
    fn provider_request(&self, _: &'static str, _: &'static str, _: Duration) {}
    fn gauges(&self, gauges: &Gauges) {
        look("the gauges", || format!("{gauges:?}"));
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
            tokio::time::sleep(Duration::from_millis(5)).await;
            let mut outside = self.outside();
            let fault = outside.record_fault.as_mut().and_then(|fault| fault(key));
            let (takes_effect, result) =
                fault.map_or((true, Ok(())), |(takes, failure)| (takes, Err(failure)));
            if takes_effect {
                outside.records += 1;
                outside.statuses.insert(key.clone(), status.clone());
            }
            result
        })
    }

    fn token_source<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a TokenSourceStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        look("a status", || serde_json::to_string(status).unwrap());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.outside().source_statuses.insert(key.clone(), status.clone());
            Ok(())
        })
    }

    fn provider<'a>(
        &'a self,
        key: &'a ObjectKey,
        status: &'a WebhookProviderStatus,
    ) -> BoxFuture<'a, Result<(), RecordFailure>> {
        look("a status", || serde_json::to_string(status).unwrap());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.outside().provider_statuses.insert(key.clone(), status.clone());
            Ok(())
        })
    }

    fn guard<'a>(&'a self, key: &'a ObjectKey, _: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.outside().guarded.push(key.clone());
            Ok(())
        })
    }

    fn release<'a>(&'a self, key: &'a ObjectKey, _: &'a str) -> BoxFuture<'a, Result<(), RecordFailure>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let mut outside = self.outside();
            outside.released.push(key.clone());
            outside.statuses.remove(key);
            Ok(())
        })
    }
}

impl Publish for World {
    fn read<'a>(
        &'a self,
        _: &'a ObjectKey,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Published>, PublishFailure>> {
        Box::pin(async { Ok(None) })
    }

    fn write<'a>(
        &'a self,
        _: &'a ObjectKey,
        _: &'a str,
        _: &'a Published,
    ) -> BoxFuture<'a, Result<(), PublishFailure>> {
        Box::pin(async { Ok(()) })
    }
}

impl Minter for World {
    fn mint<'a>(
        &'a self,
        _: &'a str,
        source: &'a TokenSourceSpec,
        guard: &'a CallGuard,
    ) -> BoxFuture<'a, Result<Minted, MintFailure>> {
        Box::pin(async move {
            guard.cut(Duration::from_secs(10))?;
            self.latency().await;
            let about = serde_json::to_string(source).unwrap();
            let now = self.wall();
            let mut outside = self.outside();
            if let Some(failure) = outside.mint_fault.as_mut().and_then(|fault| fault(&about)) {
                return Err(failure);
            }
            let token = outside.issue(&about, now);
            let lifetime = outside.token_life.saturating_sub(self.settings.latency);
            Ok(Minted { token: token.into(), lifetime: Some(lifetime), version: None, allowed_hosts: None })
        })
    }
}

impl Remotes for World {
    fn resolve(&self, _: &ObjectKey, _: &WebhookProviderSpec) -> Result<Arc<dyn Remote>, Invalid> {
        let settings = &self.settings;
        let profile = ProviderProfile {
            origin: "https://provider.example.com".into(),
            requests_per_minute: settings.requests_per_minute,
            preset_requests_per_minute: None,
            max_concurrent: 16,
            timeout: Duration::from_secs(10),
            overlap: settings.overlap,
            verify_interval: settings.verify_interval,
            settle: Duration::from_secs(300),
            can_list: true,
            can_create: true,
            can_delete: true,
        };
        Ok(Arc::new(Provider { world: self.clone(), profile }))
    }
}

struct Provider {
    world: World,
    profile: ProviderProfile,
}

impl Provider {
    /// Waits, and has the call refused, lost or broken where that is asked for.
    async fn call<T>(
        &self,
        operation: &'static str,
        about: &str,
        guard: &CallGuard,
        effect: impl FnOnce(&mut super::Outside) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        guard.cut(self.profile.timeout)?;
        self.world.latency().await;
        let fault = self.world.fault(operation, about);
        if let Some(CallFault::Refused(failure)) = fault {
            return Err(failure);
        }
        let result = effect(&mut self.world.outside());
        match fault {
            Some(CallFault::Lost) => {
                tokio::time::sleep(self.profile.timeout).await;
                Err(CallFailure::Unanswered { what: "no answer within 10 s".into() })
            }
            Some(CallFault::Panic) => panic!("a step that panics, as the test asked"),
            _ => result,
        }
    }
}

fn missing() -> CallFailure {
    CallFailure::Status { code: 404, retry_after: None, missing: true }
}

impl Remote for Provider {
    fn profile(&self) -> &ProviderProfile {
        &self.profile
    }

    fn check(&self, _: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        Ok(())
    }

    fn warning(&self, _: &WebhookSubscriptionSpec) -> Option<String> {
        None
    }

    fn document_digest(&self, spec: &WebhookSubscriptionSpec) -> String {
        let active = spec.is_active().to_string();
        short_digest(&[spec.action.as_deref().unwrap_or_default(), &spec.postback_url, &active])
    }

    fn document_secrets<'a>(
        &'a self,
        _: &'a str,
        _: &'a WebhookSubscriptionSpec,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>> {
        Box::pin(async { Ok(None) })
    }

    fn list<'a>(&'a self, guard: &'a CallGuard) -> BoxFuture<'a, Result<Listing, CallFailure>> {
        Box::pin(self.call("list", "", guard, |outside| {
            outside.lists += 1;
            let subscriptions = outside
                .remotes
                .iter()
                .map(|(id, remote)| RemoteSubscription {
                    id: id.clone(),
                    action: Some(remote.action.clone()),
                    postback_url: Some(remote.url.clone()),
                    active: Some(remote.active),
                })
                .collect();
            Ok(Listing { subscriptions, requests: 2 })
        }))
    }

    fn create<'a>(
        &'a self,
        document: &'a Document,
        guard: &'a CallGuard,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        let action = document.spec.action.as_deref().unwrap_or_default();
        Box::pin(self.call("create", action, guard, move |outside| {
            let spec = &document.spec;
            let id = outside.create(action, &spec.postback_url, spec.is_active(), document.token.expose());
            Ok(Applied { id: Some(id), secrets: None })
        }))
    }

    fn update<'a>(
        &'a self,
        id: &'a str,
        document: &'a Document,
        guard: &'a CallGuard,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        let action = document.spec.action.as_deref().unwrap_or_default();
        Box::pin(self.call("update", action, guard, move |outside| {
            let (spec, now) = (&document.spec, self.world.began.elapsed());
            let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap()
                + chrono::TimeDelta::from_std(now).unwrap()
                + outside.wall_shift;
            let token = document.token.expose();
            let found = outside.put(id, action, &spec.postback_url, spec.is_active(), token, now);
            if found { Ok(Applied { id: None, secrets: None }) } else { Err(missing()) }
        }))
    }

    fn delete<'a>(
        &'a self,
        _: &'a WebhookSubscriptionSpec,
        id: &'a str,
        guard: &'a CallGuard,
    ) -> BoxFuture<'a, Result<(), CallFailure>> {
        Box::pin(self.call("delete", id, guard, move |outside| {
            outside.deletes += 1;
            outside.remotes.remove(id).map(|_| ()).ok_or_else(missing)
        }))
    }
}
