//! Whatever comes in whatever order, the engine comes to rest, and nobody is forgotten.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use serde_json::json;

use super::scene::{OUTCOMES, Outcome, Scene, gone, identity, key, source, subscription_as};
use crate::api::{Kind, PublishTo, TokenSourceSpec};
use crate::engine::change::{Change, Evidence};
use crate::engine::event::{About, Broken, Ended, Event, Report};
use crate::engine::ids::{ProviderId, SourceId, SubscriptionId, Ticket};
use crate::engine::ports::Invalid;
use crate::rotation::time::{Moment, add};

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A subscription is declared in one of several versions.
    Declared { number: u32, version: u8 },
    /// A subscription is declared that breaks a rule.
    Invalid { number: u32 },
    /// A subscription is gone from the desired state.
    Gone { number: u32, prune: bool },
    /// A source is declared in one of several versions, or gone.
    Source { version: u8 },
    /// A provider is declared in one of several versions, or gone.
    Provider { version: u8 },
    /// One of the calls that are under way ends.
    Ends { which: usize, outcome: Outcome },
    /// The same answer comes once more, whatever has happened since.
    EndsAgain { outcome: Outcome },
    /// A webhook is removed at the provider.
    Removed,
    /// Time passes, in seconds.
    Time { seconds: u32 },
    /// The wall clock is set, by seconds.
    ClockSet { seconds: i64 },
    /// This process may act, or may not any more.
    Claim { term: Option<u64> },
    /// A gate begins or ceases to prove deliveries.
    Gate { serves: bool },
    /// A gate has seen a token.
    Seen { number: u32, retired: bool },
}

fn happening() -> impl Strategy<Value = Happening> {
    let outcome = || prop_oneof![3 => Just(Outcome::Succeeds), 1 => prop::sample::select(OUTCOMES.to_vec())];
    let number = || 0..6_u32;
    prop_oneof![
        6 => (number(), 0..8_u8).prop_map(|(number, version)| Happening::Declared { number, version }),
        1 => number().prop_map(|number| Happening::Invalid { number }),
        2 => (number(), any::<bool>()).prop_map(|(number, prune)| Happening::Gone { number, prune }),
        2 => (0..6_u8).prop_map(|version| Happening::Source { version }),
        2 => (0..6_u8).prop_map(|version| Happening::Provider { version }),
        40 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Happening::Ends { which, outcome }),
        3 => outcome().prop_map(|outcome| Happening::EndsAgain { outcome }),
        1 => Just(Happening::Removed),
        20 => prop_oneof![0..3_u32, 0..600_u32, 0..8_000_u32].prop_map(|seconds| Happening::Time { seconds }),
        1 => (-4_000..4_000_i64).prop_map(|seconds| Happening::ClockSet { seconds }),
        2 => prop::option::weighted(0.7, 1..9_u64).prop_map(|term| Happening::Claim { term }),
        1 => any::<bool>().prop_map(|serves| Happening::Gate { serves }),
        2 => (number(), any::<bool>()).prop_map(|(number, retired)| Happening::Seen { number, retired }),
    ]
}

/// What a call that has ended already may bring once more: places that are given back, and news of what may
/// be gone.
fn repeated(outcome: Outcome) -> Ended {
    let (about, report) = match outcome {
        Outcome::Succeeds => {
            let (id, started) =
                ("remote-1".to_owned(), Moment { wall: DateTime::UNIX_EPOCH, boot: Duration::ZERO });
            (About::Call(SubscriptionId(0)), Report::Deleted { id, started, result: Ok(()) })
        }
        Outcome::Missing => (About::Subscription(SubscriptionId(1)), Report::Released(Ok(()))),
        Outcome::Panics => (About::Listing(ProviderId(0)), Report::Broken(Broken::Panicked)),
        _ => (About::Mint(SourceId(0)), Report::Broken(Broken::Overdue)),
    };
    Ended { about, report, wrote_for: Some(0) }
}

struct Play {
    scene: Scene,
    generation: i64,
    /// A call that has ended already.
    ended: Option<Ticket>,
}

impl Play {
    fn happens(&mut self, happening: Happening) {
        self.generation += 1;
        let scene = &mut self.scene;
        match happening {
            Happening::Declared { number, version } => {
                let mut identity = identity(&format!("subscription-{number}"), self.generation);
                let more = match version {
                    0 => json!({"deletionPolicy": "Delete"}),
                    1 => json!({"suspend": true}),
                    2 => json!({"postbackUrl": "https://integrations.example.com/other"}),
                    3 => json!({"webhookId": format!("remote-{number}"), "adoptionPolicy": "Matching"}),
                    4 => json!({"receiverRef": {"name": "receiver"}}),
                    _ => json!({}),
                };
                if version == 5 {
                    identity.deleted = Some(scene.now.wall);
                }
                if version == 6 {
                    identity.uid = format!("another-{}", self.generation);
                }
                if version == 7 {
                    identity.rotate_requested = Some(self.generation.to_string());
                }
                identity.has_finalizer = version == 5;
                scene.change(subscription_as(identity, number, &more));
            }
            Happening::Invalid { number } => {
                let identity = identity(&format!("subscription-{number}"), self.generation);
                let problem = Invalid { field: "spec.action".into(), problem: "is not allowed".into() };
                let kind = Kind::WebhookSubscription;
                scene.change(Change::Invalid { kind, identity, problem, status: json!({}) });
            }
            Happening::Gone { number, prune } => {
                scene.change(gone(Kind::WebhookSubscription, &format!("subscription-{number}"), prune));
            }
            Happening::Source { version: 0 } => scene.change(gone(Kind::TokenSource, "source", false)),
            Happening::Source { version } => {
                let to = PublishTo { secret_name: format!("shared-{}", version % 2), ..PublishTo::default() };
                let spec = TokenSourceSpec {
                    publish_to: (version > 3).then_some(to),
                    revokes_previous: Some(version == 2),
                    ..TokenSourceSpec::default()
                };
                scene.change(source("source", spec));
            }
            Happening::Provider { version: 0 } => {
                scene.change(gone(Kind::WebhookProvider, "provider", false));
            }
            Happening::Provider { version } => {
                let mut identity = identity("provider", self.generation);
                identity.deleted = (version == 1).then_some(scene.now.wall);
                let spec = match version {
                    2 => json!({"baseUrl": "https://elsewhere.example.com"}),
                    3 => json!({"suspend": true}),
                    4 => json!({"limits": {"requestsPerMinute": 30}}),
                    _ => json!({}),
                };
                scene.declare_provider_as(identity, &spec);
            }
            Happening::Ends { which, outcome } => {
                let open = scene.calls.len();
                if let Some(ticket) = (open > 0).then(|| *scene.calls.keys().nth(which % open).unwrap()) {
                    self.ended = Some(ticket);
                    scene.end(ticket, outcome);
                }
            }
            Happening::EndsAgain { outcome } => {
                if let Some(ticket) = self.ended {
                    scene.handle(Event::Ended(ticket, Box::new(repeated(outcome))));
                }
            }
            Happening::Removed => {
                scene.remotes.pop_first();
            }
            Happening::Time { seconds } => scene.pass(Duration::from_secs(seconds.into())),
            Happening::ClockSet { seconds } => {
                scene.now.wall += TimeDelta::seconds(seconds);
                scene.time();
            }
            Happening::Claim { term } => scene.handle(Event::Claim(term)),
            Happening::Gate { serves } => {
                if serves {
                    scene.gates.serves.insert(key("source"));
                } else {
                    scene.gates.serves.clear();
                }
                scene.change(Change::Gates(key("source")));
            }
            Happening::Seen { number, retired } => {
                let subscription = format!("subscription-{number}");
                let status = scene.state.by_key.get(&key(&subscription)).copied();
                let status =
                    status.and_then(|id| scene.state.entry(id)?.object()).map(|object| object.status);
                let fingerprint = status.and_then(|status| status.token_fingerprint).unwrap_or_default();
                scene.change(Change::Evidence(Box::new(Evidence {
                    receiver: key("receiver"),
                    fingerprint,
                    subscription: Some(subscription),
                    event: None,
                    at: add(scene.now.wall, Duration::ZERO),
                    retired,
                })));
            }
        }
    }

    /// From now on nothing fails: everything that waits has its turn.
    fn assert_comes_to_rest(&mut self) {
        self.happens(Happening::Claim { term: Some(99) });
        self.happens(Happening::Source { version: 1 });
        self.happens(Happening::Provider { version: 5 });
        self.scene.settle_for(Duration::from_secs(3 * 3_600), Duration::from_secs(60));
        let state = &self.scene.state;
        assert!(self.scene.calls.is_empty() && state.is_at_rest(), "something is taken and nothing runs");
        for (_, provider) in state.providers.iter() {
            assert!(provider.waiting.is_empty(), "a listing is waited for: {:?}", provider.waiting);
            assert!(provider.blocked.is_empty(), "a place is waited for");
            assert!(provider.keeping.waiting.is_empty() && provider.belonging.waiting.is_empty());
        }
        for (_, source) in state.sources.iter() {
            assert!(source.waiting.is_empty(), "a mint is waited for: {:?}", source.waiting);
        }
        for (_, entry) in state.subscriptions.iter() {
            assert!(!entry.is_busy() && entry.successor.is_none(), "{} is busy", entry.key);
        }
        assert!(state.waiting.mints.is_empty() && state.waiting.readings.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_everything_comes_to_rest(
        happenings in prop::collection::vec(happening(), 1_500..3_000)
    ) {
        let mut play = Play { scene: Scene::with(3), generation: 1, ended: None };
        for happening in happenings {
            play.happens(happening);
        }
        play.assert_comes_to_rest();
    }
}
