//! What gates have seen is shown, once for each new fact, and changes nothing else.

use hookkeeper::api::{Condition, ConditionStatus, ConditionType, LocalReference, Reason};
use hookkeeper::engine::change::{Change, Evidence};

use super::{DAY, HOUR, MINUTE, SECOND, condition, counts, edit, hand_over, key, pass_until_due, ready};
use crate::world::{Running, Settings, World};

const AWAITING: (ConditionStatus, Reason) = (ConditionStatus::Unknown, Reason::AwaitingDelivery);
const SEEN: (ConditionStatus, Reason) = (ConditionStatus::True, Reason::DeliverySeen);
const OLD_STILL: (ConditionStatus, Reason) = (ConditionStatus::False, Reason::OldTokenStillSeen);
const VAGUE: (ConditionStatus, Reason) = (ConditionStatus::Unknown, Reason::NotAttributable);

/// So many subscriptions of one source and one receiver.
fn received(subscriptions: usize) -> World {
    let world = World::new(Settings { token_life: DAY, overlap: 2 * HOUR, ..Settings::default() });
    world.populate(subscriptions, 1);
    for number in 0..subscriptions {
        let name = format!("subscription-{number}");
        let mut spec = world.outside().subscriptions[&key(&name)].1.clone();
        spec.receiver_ref = Some(LocalReference { name: "receiver".into() });
        world.declare(&name, spec);
    }
    world
}

fn shown(world: &World, name: &str) -> Option<Condition> {
    condition(&world.status(name), ConditionType::TokenObserved).cloned()
}

fn observed(world: &World, name: &str) -> (ConditionStatus, Reason) {
    let shown = shown(world, name).unwrap();
    (shown.status, shown.reason)
}

/// A delivery came in with this token.
async fn delivered(
    world: &World,
    engine: &Running,
    fingerprint: &str,
    subscription: Option<&str>,
    event: Option<&str>,
    retired: bool,
) {
    let evidence = Evidence {
        receiver: key("receiver"),
        fingerprint: fingerprint.into(),
        subscription: subscription.map(str::to_owned),
        event: event.map(str::to_owned),
        at: world.wall(),
        retired,
    };
    engine.send(Change::Evidence(Box::new(evidence))).await;
    world.pass(SECOND).await;
}

fn told(world: &World) -> Vec<(Reason, bool)> {
    let outside = world.outside();
    let about = |reason| matches!(reason, Reason::DeliverySeen | Reason::OldTokenStillSeen);
    let notices = outside.notices.iter().filter(|notice| about(notice.reason));
    notices.map(|notice| (notice.reason, notice.warning)).collect()
}

async fn rotate(world: &World, engine: &Running) {
    let request = world.wall().to_rfc3339();
    world.outside().rotate_requested.insert(key("subscription-0"), request);
    hand_over(world, engine, "subscription-0").await;
    world.pass(MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_awaited_seen_and_awaited_again() {
    let world = received(2);
    let engine = world.start();
    world.pass(MINUTE).await;
    let first = world.status("subscription-0").token_fingerprint.unwrap();
    assert_eq!(observed(&world, "subscription-0"), AWAITING);
    delivered(&world, &engine, &first, Some("subscription-0"), None, false).await;
    assert_eq!(observed(&world, "subscription-0"), SEEN);
    assert_eq!(observed(&world, "subscription-1"), AWAITING, "each for itself");
    rotate(&world, &engine).await;
    assert_eq!(observed(&world, "subscription-0"), AWAITING);
    let second = world.status("subscription-0").token_fingerprint.unwrap();
    delivered(&world, &engine, &first, Some("subscription-0"), None, false).await;
    assert_eq!(observed(&world, "subscription-0"), AWAITING, "within the overlap");
    delivered(&world, &engine, &second, Some("subscription-0"), None, false).await;
    assert_eq!(observed(&world, "subscription-0"), SEEN);
    assert_eq!(told(&world), [(Reason::DeliverySeen, false)], "once");
    world.pass(3 * HOUR).await;
    for _ in 0..3 {
        delivered(&world, &engine, &first, Some("subscription-0"), None, true).await;
        assert_eq!(observed(&world, "subscription-0"), OLD_STILL);
        assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    }
    world.pass(2 * HOUR).await;
    delivered(&world, &engine, &second, Some("subscription-0"), None, false).await;
    assert_eq!(observed(&world, "subscription-0"), SEEN);
    let news =
        [(Reason::DeliverySeen, false), (Reason::OldTokenStillSeen, true), (Reason::DeliverySeen, false)];
    assert_eq!(told(&world), news);
    assert_eq!(
        counts(&world, |outside| (outside.mints, outside.updates)),
        (2, 2),
        "nothing is done because of it"
    );
}

#[tokio::test(start_paused = true)]
async fn deliveries_cause_no_writes() {
    let world = received(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    let token = world.status("subscription-0").token_fingerprint.unwrap();
    let before = counts(&world, |outside| outside.records);
    for _ in 0..500 {
        delivered(&world, &engine, &token, Some("subscription-0"), None, false).await;
        // Of nobody: another receiver's, another subscription's, a token that nobody knows.
        delivered(&world, &engine, &token, Some("other"), None, false).await;
        delivered(&world, &engine, "unknown", Some("subscription-0"), None, false).await;
    }
    assert_eq!(counts(&world, |outside| outside.records), before + 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_name_the_event_tells_whose_it_is() {
    let world = received(3);
    let engine = world.start();
    world.pass(MINUTE).await;
    edit(&world, &engine, "subscription-2", |spec| spec.action = Some("action.1".into())).await;
    world.pass(MINUTE).await;
    let token = world.status("subscription-0").token_fingerprint.unwrap();
    delivered(&world, &engine, &token, None, Some("action.0"), false).await;
    delivered(&world, &engine, &token, None, Some("action.1"), false).await;
    let names = ["subscription-0", "subscription-1", "subscription-2"];
    assert_eq!(names.map(|name| observed(&world, name)), [SEEN, VAGUE, VAGUE]);
    let before = counts(&world, |outside| outside.records);
    delivered(&world, &engine, &token, None, Some("action.1"), false).await;
    assert_eq!(counts(&world, |outside| outside.records), before);
    delivered(&world, &engine, &token, Some("subscription-1"), Some("action.1"), false).await;
    assert_eq!(names.map(|name| observed(&world, name)), [SEEN, SEEN, VAGUE]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_what_is_on_record() {
    let world = received(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    let first = world.status("subscription-0").token_fingerprint.unwrap();
    delivered(&world, &engine, &first, Some("subscription-0"), None, false).await;
    let recorded = shown(&world, "subscription-0");
    engine.kill().await;
    let engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(shown(&world, "subscription-0"), recorded);
    let records = counts(&world, |outside| outside.records);
    delivered(&world, &engine, &first, Some("subscription-0"), None, false).await;
    assert_eq!(counts(&world, |outside| outside.records), records);
    assert_eq!(told(&world).len(), 1, "nor is it told again");
    pass_until_due(&world, SECOND).await;
    world.pass(MINUTE).await;
    assert_eq!(observed(&world, "subscription-0"), AWAITING);
}

/// The provider delivers with the new token before its answer to the update is on record.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_faster_than_the_record_counts() {
    let world = received(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    let first = world.status("subscription-0").token_fingerprint.unwrap();
    world.outside().gate.serves.insert(key("source-0"));
    world.outside().fault_for = Some(super::once("update", crate::world::CallFault::Slow(5 * SECOND)));
    world.outside().rotate_requested.insert(key("subscription-0"), "now".into());
    hand_over(&world, &engine, "subscription-0").await;
    world.pass(2 * SECOND).await;
    let second = world.outside().gate.kept.values().find(|kept| **kept != first).unwrap().clone();
    delivered(&world, &engine, &second, Some("subscription-0"), None, false).await;
    assert_eq!(world.status("subscription-0").token_fingerprint.as_ref(), Some(&first));
    world.pass(MINUTE).await;
    assert_eq!(world.status("subscription-0").token_fingerprint, Some(second));
    assert_eq!(observed(&world, "subscription-0"), SEEN);
}

#[tokio::test(start_paused = true)]
async fn another_receiver_begins_anew_and_none_shows_nothing() {
    let world = received(1);
    let engine = world.start();
    world.pass(MINUTE).await;
    let token = world.status("subscription-0").token_fingerprint.unwrap();
    delivered(&world, &engine, &token, Some("subscription-0"), None, false).await;
    edit(&world, &engine, "subscription-0", |spec| {
        spec.receiver_ref = Some(LocalReference { name: "another".into() });
    })
    .await;
    world.pass(MINUTE).await;
    assert_eq!(observed(&world, "subscription-0"), AWAITING);
    delivered(&world, &engine, &token, Some("subscription-0"), None, false).await;
    assert_eq!(observed(&world, "subscription-0"), AWAITING, "it came in at the other one");
    edit(&world, &engine, "subscription-0", |spec| spec.receiver_ref = None).await;
    world.pass(MINUTE).await;
    assert_eq!(shown(&world, "subscription-0"), None);
}

/// The document names the object, so that deliveries do: one that is there is updated once.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_names_a_receiver_is_sent_with_its_own_name() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    assert_eq!(world.outside().named.len(), 0);
    edit(&world, &engine, "subscription-0", |spec| {
        spec.receiver_ref = Some(LocalReference { name: "receiver".into() });
    })
    .await;
    world.pass(HOUR).await;
    let named = world.outside().named.clone();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [("action.0".to_owned(), "subscription-0".to_owned())]);
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (1, 1), "with the token in hand");
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
}
