//! Providers: listings, status, what is kept for deletions, and the clocks.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;

use super::scene::{LIFE, Outcome, Scene, gone, identity, subscription};
use crate::api::{ConditionStatus, Kind, Reason};
use crate::engine::effect::{Call, Count};
use crate::engine::state::provider::Provider;
use crate::engine::write::Write;

fn is_list(call: &Call) -> bool {
    matches!(call, Call::List { .. })
}

fn is_finalizer(call: &Call) -> bool {
    matches!(call, Call::Write { write: Write::ProviderFinalizer { .. }, .. })
}

fn the_provider(scene: &Scene) -> &Provider {
    scene.state.providers.iter().next().unwrap().1
}

/// A listing is being read for those who look for their webhooks.
fn listing(subscriptions: u32) -> Scene {
    let mut scene = Scene::with(subscriptions);
    while !scene.calls.values().any(is_list) {
        scene.time();
        let ticket = *scene.calls.keys().next().expect("something is under way");
        if !is_list(&scene.calls[&ticket]) {
            scene.end(ticket, Outcome::Succeeds);
        }
    }
    scene
}

#[test]
fn one_listing_serves_all_who_wait_for_it() {
    let mut scene = listing(5);
    scene.settle();
    let pages = scene
        .counts
        .iter()
        .filter(|count| matches!(count, Count::ProviderRequest { operation: "list", .. }))
        .count();
    assert!(pages <= 2, "a listing is read twice to see that it stands still: {pages}");
    assert_eq!(scene.remotes.len(), 5);
}

#[test]
fn a_page_that_failed_gives_its_places_back_and_is_asked_for_again() {
    for outcome in [Outcome::Fails, Outcome::Lost, Outcome::Panics, Outcome::Garbled] {
        let mut scene = listing(1);
        scene.end_the(is_list, outcome);
        assert_eq!(scene.state.places.workers.taken(), 0, "{outcome:?}");
        assert!(!the_provider(&scene).is_listing());
        scene.settle_for(Duration::from_secs(300), Duration::from_secs(1));
        assert_eq!(scene.remotes.len(), 1, "{outcome:?}");
    }
}

#[test]
fn a_provider_that_asks_for_a_pause_is_left_alone_that_long() {
    let mut scene = listing(1);
    scene.end_the(is_list, Outcome::Pauses);
    scene.settle_for(Duration::from_secs(28), Duration::from_secs(1));
    assert!(scene.remotes.is_empty() && the_provider(&scene).hold.is_open());
    scene.settle_for(Duration::from_secs(20), Duration::from_secs(1));
    assert_eq!(scene.remotes.len(), 1);
}

#[test]
fn a_refused_credential_is_in_the_status_of_the_provider() {
    let mut scene = listing(1);
    scene.end_the(is_list, Outcome::Refused);
    let answered = the_provider(&scene).answered.as_ref().map(|(holds, reason, _)| (*holds, *reason));
    assert_eq!(answered, Some((ConditionStatus::False, Reason::ProviderRefusedCredentials)));
}

#[test]
fn a_webhook_that_a_listing_does_not_show_is_looked_at_again() {
    let mut scene = Scene::with(1);
    scene.settle_for(Duration::from_secs(120), Duration::from_secs(10));
    scene.remotes.clear();
    scene.settle_for(2 * LIFE, Duration::from_secs(60));
    assert_eq!(scene.remotes.len(), 1, "it is made again");
}

#[test]
fn a_provider_is_kept_while_a_deletion_will_need_it() {
    let mut scene = Scene::with(0);
    scene.change(subscription(0, 1, &json!({"deletionPolicy": "Delete"})));
    scene.time();
    for outcome in [Outcome::Fails, Outcome::Panics] {
        scene.end_the(is_finalizer, outcome);
        assert!(the_provider(&scene).keeping.pause.is_some() && !the_provider(&scene).keeping.writing);
        scene.settle_until(is_finalizer, Duration::from_secs(600));
    }
    scene.end_the(is_finalizer, Outcome::Succeeds);
    let mut deleted = identity("provider", 2);
    (deleted.deleted, deleted.has_finalizer) = (Some(scene.now.wall), true);
    scene.declare_provider_as(deleted, &json!({}));
    assert!(scene.notices.iter().any(|notice| notice.kind == Kind::WebhookProvider));
    scene.time();
    assert!(!scene.calls.values().any(is_finalizer), "it stays on");
}

#[test]
fn a_provider_that_is_gone_is_forgotten_with_its_last_user() {
    let mut scene = Scene::with(1);
    scene.settle();
    scene.change(gone(Kind::WebhookProvider, "provider", false));
    scene.change(gone(Kind::WebhookSubscription, "subscription-0", false));
    scene.settle_for(Duration::from_secs(700), Duration::from_secs(5));
    assert_eq!((scene.state.providers.len(), scene.state.origins.len()), (0, 0));
    assert!(scene.counts.iter().any(|count| matches!(count, Count::ProviderGone(_))));
}

#[test]
fn a_clock_that_is_set_makes_nobody_late() {
    for seconds in [-7_200, 7_200] {
        let mut scene = Scene::with(1);
        scene.settle();
        scene.now.wall += TimeDelta::seconds(seconds);
        scene.settle_for(LIFE, Duration::from_secs(20));
        let end = scene.status(0).token_expiration_time.unwrap();
        assert!(end > scene.now.wall, "{seconds}: {end}");
        assert_eq!(scene.remotes.len(), 1);
    }
}

#[test]
fn the_state_in_numbers_is_told_every_some_seconds() {
    let mut scene = Scene::with(2);
    scene.settle();
    scene.counts.clear();
    scene.pass(Duration::from_secs(5));
    scene.pass(Duration::from_secs(1));
    let gauges: Vec<_> = scene
        .counts
        .iter()
        .filter_map(|count| match count {
            Count::Gauges(gauges) => Some(gauges),
            _ => None,
        })
        .collect();
    assert_eq!(gauges.len(), 1, "not more often");
    assert_eq!((gauges[0].subscriptions.len(), gauges[0].leader, gauges[0].kept.tokens), (2, true, 1));
}
