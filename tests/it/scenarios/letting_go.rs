//! What is deleted is let go, with its tokens; the pauses that it ran into are kept until they are
//! over.

use std::time::Duration;

use hookkeeper::api::{
    DeletionPolicy, Kind, Limits, OAuth2TokenSource, ObjectKey, PublishTo, TokenSourceSpec,
    WebhookProviderSpec, WebhookSubscriptionSpec,
};
use hookkeeper::engine::Options;
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::{CallFailure, Gauges, Kept, MintFailure};
use hookkeeper::ops::health::Heartbeat;
use hookkeeper::ops::metrics::Metrics;

use super::{
    DAY, HOUR, MINUTE, SECOND, answered, asked, counts, declare, hand_over_provider, hand_over_source, key,
    refused,
};
use crate::world::{
    CallFault, Running, Settings, World, declared_provider, declared_source, identity, subscription,
};

/// An engine that tells every few seconds how much it keeps.
fn start(world: &World) -> Running {
    world.start_with(Options { tick: 5 * SECOND, gauges_every: 5 * SECOND, ..Options::default() })
}

fn gauges(world: &World) -> Gauges {
    world.outside().gauges.clone().unwrap_or_default()
}

async fn gone(engine: &Running, kind: Kind, key: ObjectKey) {
    engine.send(Change::Gone { kind, key, prune: true }).await;
}

fn publishing(name: &str) -> TokenSourceSpec {
    TokenSourceSpec {
        oauth2: Some(OAuth2TokenSource { audience: Some(name.into()), ..OAuth2TokenSource::default() }),
        publish_to: Some(PublishTo { secret_name: "tokens".into(), ..PublishTo::default() }),
        ..TokenSourceSpec::default()
    }
}

fn busy_token_server(retry_after: Duration) -> MintFailure {
    MintFailure::Status {
        code: 429,
        retry_after: Some(retry_after),
        credential_refused: false,
        oauth_error: None,
    }
}

/// One tenant of many: a namespace with a provider, a source and a subscription of its own.
struct Tenant {
    number: usize,
    namespace: String,
}

impl Tenant {
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(&self.namespace, name)
    }

    fn provider(&self) -> WebhookProviderSpec {
        let base_url = Some(format!("https://provider-{}.example.com", self.number));
        WebhookProviderSpec { base_url, ..WebhookProviderSpec::default() }
    }

    fn subscription(&self) -> WebhookSubscriptionSpec {
        let mut spec = subscription(self.number, "source");
        match self.number % 7 {
            // Its own source, spelled out; one that nobody declares; a provider that nobody declares.
            0 => (spec.token_source_ref, spec.token_source) = (None, Some(inline(self.number))),
            1 => spec.token_source_ref.as_mut().unwrap().name = "missing".into(),
            2 => spec.provider_ref.name = "missing".into(),
            _ => {}
        }
        // What a provider refuses would hold up its own deletion.
        spec.deletion_policy = self.number.is_multiple_of(4).then_some(DeletionPolicy::Delete);
        spec
    }

    async fn come(&self, world: &World, engine: &Running) {
        let provider =
            declared_provider(identity(&self.key("provider"), 1), &self.provider(), Default::default());
        let source = publishing(&format!("source-{}", self.number));
        engine.send(provider).await;
        engine.send(declared_source(&self.key("source"), &source, Default::default())).await;
        world.outside().declare(self.key("subscription"), self.subscription());
        let change = world.outside().change(&self.key("subscription"));
        engine.send(change).await;
    }

    async fn go(&self, world: &World, engine: &Running) {
        // As a namespace goes: in no order that helps.
        gone(engine, Kind::TokenSource, self.key("source")).await;
        let subscription = self.key("subscription");
        let wall = world.wall();
        let guarded = world.outside().finalizers.contains(&subscription);
        if guarded {
            let change = {
                let mut outside = world.outside();
                outside.deleted.insert(subscription.clone(), wall);
                outside.change(&subscription)
            };
            engine.send(change).await;
            world.pass(5 * SECOND).await;
        }
        world.outside().forget(&subscription);
        gone(engine, Kind::WebhookSubscription, subscription).await;
        gone(engine, Kind::WebhookProvider, self.key("provider")).await;
    }
}

fn inline(number: usize) -> hookkeeper::api::InlineTokenSource {
    let oauth2 = OAuth2TokenSource { audience: Some(number.to_string()), ..OAuth2TokenSource::default() };
    hookkeeper::api::InlineTokenSource { oauth2: Some(oauth2), ..Default::default() }
}

/// Whatever the objects ran into, nothing remains of them when the pauses are over: no state, no token,
/// no timer, no series.
#[tokio::test(start_paused = true)]
async fn nothing_remains_of_objects_that_were_created_and_deleted() {
    const AT_ONCE: usize = 35;
    let world = World::new(Settings { token_life: HOUR, ..Settings::default() });
    world.outside().metrics = Some(Metrics::new(Heartbeat::new(365 * DAY), true));
    world.outside().fault_for = Some(Box::new(|_, about| {
        let number: usize = about.strip_prefix("action.")?.parse().ok()?;
        match number % 5 {
            1 => Some(refused(401)),
            2 => Some(CallFault::Refused(answered(429, Some(5 * MINUTE)))),
            3 => Some(CallFault::Lost),
            _ => None,
        }
    }));
    world.outside().mint_fault =
        Some(Box::new(|about| about.contains("0\"").then(|| busy_token_server(10 * MINUTE))));
    let engine = start(&world);
    for round in 0..60 {
        let tenants: Vec<Tenant> = (round * AT_ONCE..(round + 1) * AT_ONCE)
            .map(|number| Tenant { number, namespace: format!("tenant-{number}") })
            .collect();
        for tenant in &tenants {
            tenant.come(&world, &engine).await;
        }
        world.pass(MINUTE).await;
        let kept = gauges(&world).kept;
        // Of the rounds before, those remain whose deletion waits for its provider.
        let expected = AT_ONCE..2 * AT_ONCE;
        assert!(expected.contains(&kept.subscriptions) && kept.tokens > 0, "round {round}: {kept:?}");
        // A namespace stays as long as a pause of it is remembered.
        let of_pauses = kept.providers + kept.sources;
        let namespaces = kept.subscriptions..=kept.subscriptions + of_pauses;
        assert!(namespaces.contains(&kept.namespaces), "round {round}: {kept:?}");
        for tenant in &tenants {
            tenant.go(&world, &engine).await;
        }
        world.pass(MINUTE).await;
    }
    let metrics = world.outside().metrics.clone().unwrap();
    assert!(world.outside().received.len() > 60 * AT_ONCE, "they were at work");
    world.pass(HOUR).await;
    let left = gauges(&world);
    assert_eq!((left.kept, left.queue_length), (Kept::default(), 0));
    let text = metrics.render().unwrap();
    assert!(!text.contains("tenant-"), "{text}");
    engine.assert_alive();
}

/// The platform asked to be left alone; whoever deletes everything and creates it again does not get
/// around that.
#[tokio::test(start_paused = true)]
async fn a_hold_back_outlives_the_objects_that_ran_into_it() {
    for fault in [CallFault::Refused(answered(429, Some(10 * MINUTE))), refused(401)] {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.populate(1, 1);
        let pause = if matches!(&fault, CallFault::Refused(CallFailure::Status { code: 401, .. })) {
            30 * SECOND
        } else {
            10 * MINUTE
        };
        world.outside().fault_for = Some(Box::new(move |_, _| Some(fault.clone())));
        let engine = start(&world);
        world.pass(SECOND).await;
        let calls =
            |world: &World| world.outside().received.iter().filter(|call| call.operation != "mint").count();
        let before = calls(&world);
        assert!(before > 0);
        let began = world.wall();
        let left = |world: &World| pause.saturating_sub((world.wall() - began).to_std().unwrap());
        while left(&world) > 8 * SECOND {
            world.delete("subscription-0", Some(&engine)).await;
            gone(&engine, Kind::WebhookProvider, key("provider")).await;
            gone(&engine, Kind::TokenSource, key("source-0")).await;
            world.pass(6 * SECOND).await;
            // What is created again has no status.
            world.outside().provider_statuses.clear();
            world.outside().source_statuses.clear();
            hand_over_provider(&world, &engine, "provider").await;
            hand_over_source(&world, &engine, "source-0").await;
            declare(&world, &engine, "subscription-0", subscription(0, "source-0")).await;
            world.pass(SECOND).await;
        }
        assert_eq!(calls(&world), before, "nothing was sent");
        world.pass(2 * MINUTE).await;
        assert!(calls(&world) > before);
    }
}

/// A pause that is on record outlives the process: whoever begins then does not ask the provider.
#[tokio::test(start_paused = true)]
async fn a_hold_back_outlives_the_process() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    world.outside().fault_for = Some(Box::new(|_, _| Some(refused(401))));
    let engine = start(&world);
    world.pass(SECOND).await;
    engine.kill().await;
    let until = world.outside().provider_statuses[&key("provider")].held_back_until.unwrap();
    world.declare("subscription-1", subscription(1, "source-0"));
    let before = world.outside().received.len();
    let _engine = start(&world);
    world.pass((until - world.wall()).to_std().unwrap() - SECOND).await;
    let calls = world.outside().received[before..].to_vec();
    assert!(calls.iter().all(|call| call.operation == "mint"), "{calls:?}");
    world.pass(MINUTE).await;
    assert!(world.outside().received[before..].iter().any(|call| call.operation != "mint"));
}

/// A token server is left alone as long as it asks, whether its source is an object or spelled out.
#[tokio::test(start_paused = true)]
async fn a_token_servers_pause_outlives_the_source() {
    for spelled_out in [false, true] {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.declare_provider("provider");
        world.declare_source("source-0");
        let mut spec = subscription(0, "source-0");
        if spelled_out {
            (spec.token_source_ref, spec.token_source) = (None, Some(inline(0)));
        }
        world.declare("subscription-0", spec.clone());
        world.outside().mint_fault = Some(Box::new(|_| Some(busy_token_server(10 * MINUTE))));
        let engine = start(&world);
        world.pass(SECOND).await;
        assert_eq!(asked(&world, "mint"), 1);
        for _ in 0..20 {
            world.delete("subscription-0", Some(&engine)).await;
            gone(&engine, Kind::TokenSource, key("source-0")).await;
            world.pass(6 * SECOND).await;
            hand_over_source(&world, &engine, "source-0").await;
            declare(&world, &engine, "subscription-0", spec.clone()).await;
            world.pass(6 * SECOND).await;
        }
        assert_eq!(asked(&world, "mint"), 1, "{spelled_out}");
        world.pass(10 * MINUTE).await;
        assert!(asked(&world, "mint") > 1, "{spelled_out}");
    }
}

/// What was spent of a budget is spent, whoever deletes the provider and creates it again.
#[tokio::test(start_paused = true)]
async fn a_spent_budget_outlives_the_provider() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    let limits = Limits { requests_per_minute: Some(1), ..Limits::default() };
    world.declare_provider_as("provider", WebhookProviderSpec { limits: Some(limits), ..Default::default() });
    world.declare_source("source");
    let engine = start(&world);
    world.pass(SECOND).await;
    let began = world.wall();
    for number in 0..60 {
        let name = format!("subscription-{number}");
        declare(&world, &engine, &name, subscription(number, "source")).await;
        world.pass(7 * SECOND).await;
        world.delete(&name, Some(&engine)).await;
        gone(&engine, Kind::WebhookProvider, key("provider")).await;
        world.pass(7 * SECOND).await;
        hand_over_provider(&world, &engine, "provider").await;
    }
    let minutes = (world.wall() - began).num_minutes();
    let calls =
        counts(&world, |outside| outside.received.iter().filter(|call| call.operation != "mint").count());
    assert!(i64::try_from(calls).unwrap() <= minutes + 2, "{calls} in {minutes} minutes");
}

/// A provider object with a wide budget widens it for its neighbours at the same origin as long as it
/// is there, and no longer.
#[tokio::test(start_paused = true)]
async fn a_deleted_provider_does_not_widen_the_budget_any_more() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    let limited = |requests_per_minute| WebhookProviderSpec {
        limits: Some(Limits { requests_per_minute: Some(requests_per_minute), ..Limits::default() }),
        ..WebhookProviderSpec::default()
    };
    world.declare_provider_as("provider", limited(60));
    world.declare_provider_as("other", limited(60));
    world.declare_provider_as("wide", limited(60_000));
    world.declare_source("source");
    for number in 0..40 {
        let mut spec = subscription(number, "source");
        if number.is_multiple_of(2) {
            spec.provider_ref.name = "other".into();
        }
        world.declare(&format!("subscription-{number}"), spec);
    }
    world.outside().term = None;
    let engine = start(&world);
    world.pass(SECOND).await;
    gone(&engine, Kind::WebhookProvider, key("wide")).await;
    world.outside().term = Some(1);
    world.pass(10 * SECOND).await;
    let creates = asked(&world, "create");
    assert!((10..20).contains(&creates), "{creates} in ten seconds, of sixty a minute for both");
}

/// Until a token is needed again, none is kept: not by a source that was deleted while its token was
/// being published or read, and not by a process that has lost the lead.
#[tokio::test(start_paused = true)]
async fn no_token_is_kept_of_a_deleted_source_or_without_the_lead() {
    for moment in (5..200).step_by(5) {
        for loses_the_lead in [false, true] {
            let world = World::new(Settings { token_life: DAY, ..Settings::default() });
            world.populate(2, 1);
            world.declare_source_as("source-0", publishing("source-0"));
            if moment % 2 == 0 {
                // Another process has published before this one begins.
                let earlier = start(&world);
                world.pass(HOUR).await;
                assert_eq!(gauges(&world).kept.tokens, 3, "in hand, published, applied");
                earlier.kill().await;
            }
            let engine = start(&world);
            world.pass(Duration::from_millis(moment)).await;
            if loses_the_lead {
                world.outside().term = None;
                super::hand_over(&world, &engine, "subscription-0").await;
            } else {
                gone(&engine, Kind::TokenSource, key("source-0")).await;
            }
            world.pass(5 * MINUTE).await;
            let gauges = gauges(&world);
            assert_eq!((gauges.kept.tokens, gauges.leader), (0, !loses_the_lead), "{moment} ms");
            if loses_the_lead {
                world.outside().term = Some(7);
            }
            hand_over_source(&world, &engine, "source-0").await;
            world.pass(HOUR + MINUTE).await;
            super::assert_in_order(&world, 2);
        }
    }
}

/// A declared source whose subscriptions are gone keeps its token no longer than it lives.
#[tokio::test(start_paused = true)]
async fn a_source_that_nobody_uses_keeps_no_dead_token() {
    let world = World::new(Settings { token_life: HOUR, ..Settings::default() });
    world.populate(1, 1);
    let engine = start(&world);
    world.pass(MINUTE).await;
    world.delete("subscription-0", Some(&engine)).await;
    world.pass(2 * MINUTE).await;
    assert_eq!(gauges(&world).kept.tokens, 1, "one who comes soon takes it");
    world.pass(HOUR).await;
    let kept = gauges(&world).kept;
    assert_eq!((kept.tokens, kept.sources, kept.providers), (0, 1, 1));
}
