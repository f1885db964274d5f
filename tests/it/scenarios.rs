//! What goes wrong, one thing at a time, on virtual time.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::{
    AdoptionPolicy, ConditionStatus, ConditionType, Kind, ObjectKey, Reason, SubscriptionStatus,
};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::{CallFailure, RecordFailure};

use crate::world::{CallFault, Outside, Remote, Running, Settings, World, subscription};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

pub fn ready(status: &SubscriptionStatus) -> (ConditionStatus, Reason) {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.kind == ConditionType::Ready);
    ready.map_or((ConditionStatus::Unknown, Reason::Pending), |ready| (ready.status, ready.reason))
}

/// So many subscriptions, each with one remote of its own that carries a live token.
fn assert_in_order(world: &World, subscriptions: usize) {
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!((outside.remotes.len(), outside.doubled()), (subscriptions, 0), "(remotes, doubled)");
    assert_eq!(outside.dead(wall), Vec::<&str>::new(), "dead tokens");
    assert_eq!(outside.late, [], "late rotations");
    for (key, status) in &outside.statuses {
        assert_eq!(ready(status).0, ConditionStatus::True, "{key}: {status:#?}");
        assert_eq!((&status.creation, &status.failures), (&None, &None), "{key}");
    }
}

fn unavailable() -> CallFault {
    CallFault::Refused(CallFailure::Status { code: 503, retry_after: None, missing: false })
}

/// A fault for the first call of this operation.
pub fn once(operation: &'static str, fault: CallFault) -> Fault {
    let mut fault = Some(fault);
    Box::new(move |called, _| (called == operation).then(|| fault.take()).flatten())
}

pub type Fault = Box<dyn FnMut(&'static str, &str) -> Option<CallFault> + Send>;

async fn edit(
    world: &World,
    engine: &Running,
    name: &str,
    change: impl FnOnce(&mut hookkeeper::api::WebhookSubscriptionSpec),
) {
    let mut spec = world.outside().subscriptions[&key(name)].1.clone();
    change(&mut spec);
    world.declare(name, spec);
    let change = world.outside().change(&key(name));
    engine.send(change).await;
}

fn counts<T>(world: &World, read: impl FnOnce(&Outside) -> T) -> T {
    read(&world.outside())
}

/// Lets time pass until just before the next rotation of the first subscription.
async fn pass_until_due(world: &World, before: Duration) {
    let due = world.status("subscription-0").next_rotation_time.unwrap();
    let left = (due - world.wall()).to_std().unwrap();
    world.pass(left.saturating_sub(before)).await;
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_is_found_again() {
    let world = World::new(Settings::default());
    world.populate(3, 1);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let engine = world.start();
    world.pass(MINUTE).await;
    let open = |world: &World| {
        let outside = world.outside();
        outside.statuses.values().filter(|status| status.creation.is_some()).count()
    };
    assert_eq!(open(&world), 1, "what became of the create is not known yet");
    world.pass(10 * MINUTE).await;
    engine.assert_alive();
    assert_in_order(&world, 3);
    assert_eq!(world.outside().creates, 3);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_did_not_arrive_is_sent_again_after_a_listing() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let lost = CallFailure::Unanswered { what: "lost".into() };
    world.outside().fault_for = Some(once("create", CallFault::Refused(lost)));
    let _engine = world.start();
    world.pass(4 * MINUTE).await;
    assert_eq!(world.outside().creates, 0, "the provider may still be about to show it");
    world.pass(4 * MINUTE).await;
    assert_in_order(&world, 1);
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_a_create() {
    for moment in 0..30 {
        let world = World::new(Settings::default());
        world.populate(2, 1);
        let engine = world.start();
        world.pass(Duration::from_millis(37) * moment).await;
        engine.kill().await;
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_in_order(&world, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_twice_in_a_create() {
    for moment in 0..30 {
        let world = World::new(Settings::default());
        world.populate(1, 1);
        let engine = world.start();
        world.pass(Duration::from_millis(111)).await;
        engine.kill().await;
        let engine = world.start();
        world.pass(5 * MINUTE + Duration::from_millis(37) * moment).await;
        engine.kill().await;
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_in_order(&world, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_a_rotation() {
    for moment in 0..20 {
        let world = World::new(Settings::default());
        world.populate(2, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        pass_until_due(&world, 50 * Duration::from_millis(1)).await;
        world.pass(Duration::from_millis(37) * moment).await;
        engine.kill().await;
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_in_order(&world, 2);
        let mints = world.outside().mints;
        assert!(mints <= 3, "{mints} mints at moment {moment}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_that_was_cut_short_is_finished_with_one_mint() {
    let world = World::new(Settings { requests_per_minute: 60, ..Settings::default() });
    world.populate(12, 1);
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.mints)), (12, 1));
    pass_until_due(&world, Duration::ZERO).await;
    while world.outside().updates < 3 {
        world.pass(Duration::from_millis(100)).await;
    }
    engine.kill().await;
    let _engine = world.start();
    world.pass(2 * MINUTE).await;
    assert_eq!(world.outside().mints, 3, "one for all that were left and those that were not");
    let fingerprints: std::collections::BTreeSet<_> =
        world.outside().statuses.values().map(|status| status.token_fingerprint.clone()).collect();
    assert_eq!(fingerprints.len(), 1);
    assert_in_order(&world, 12);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_revokes_leaves_nobody_behind_for_long() {
    let world = World::new(Settings { revokes: true, requests_per_minute: 600, ..Settings::default() });
    world.populate(20, 1);
    let engine = world.start();
    world.pass(DAY).await;
    engine.assert_alive();
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!(outside.dead(wall), Vec::<&str>::new());
    let longest = outside.late.iter().map(|(_, late)| *late).max().unwrap();
    assert!(longest < TimeDelta::seconds(3), "stale for {longest}: n/r is 2 s");
}

#[tokio::test(start_paused = true)]
async fn a_429_silences_the_origin_for_as_long_as_it_asks() {
    for (retry_after, quiet) in [(Some(2 * MINUTE), 2 * MINUTE), (None, MINUTE / 2)] {
        let world = World::new(Settings::default());
        world.populate(5, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        pass_until_due(&world, SECOND).await;
        let limited = CallFailure::Status { code: 429, retry_after, missing: false };
        world.outside().fault_for = Some(once("update", CallFault::Refused(limited)));
        world.pass(2 * SECOND).await;
        let sent = world.outside().updates;
        world.pass(quiet - 2 * SECOND).await;
        assert_eq!(world.outside().updates, sent, "nothing is sent while the origin is held back");
        world.pass(MINUTE).await;
        assert_eq!(world.outside().updates, 5);
        engine.assert_alive();
        assert_in_order(&world, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_for_twenty_minutes_makes_nobody_late() {
    let world = World::new(Settings { requests_per_minute: 500, ..Settings::default() });
    world.populate(100, 10);
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    pass_until_due(&world, 10 * MINUTE).await;
    world.outside().fault_for = Some(Box::new(|_, _| Some(unavailable())));
    world.pass(20 * MINUTE).await;
    world.outside().fault_for = None;
    world.pass(20 * MINUTE).await;
    engine.assert_alive();
    assert_in_order(&world, 100);
}

#[tokio::test(start_paused = true)]
async fn most_ids_missing_creates_nothing() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(8, 1);
    let _engine = world.start();
    world.pass(HOUR).await;
    let all = world.outside().remotes.clone();
    world.outside().remotes.retain(|id, _| matches!(id.as_str(), "remote-1" | "remote-2"));
    world.pass(4 * HOUR).await;
    assert_eq!(world.outside().creates, 8);
    let reasons = world
        .outside()
        .statuses
        .values()
        .filter(|status| ready(status).1 == Reason::ProviderMismatch)
        .count();
    assert_eq!(reasons, 6);
    world.outside().remotes = all;
    world.pass(4 * HOUR).await;
    assert_eq!(world.outside().creates, 8);
    assert_in_order(&world, 8);
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_has_vanished_is_created_again_once() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(4, 1);
    let _engine = world.start();
    world.pass(HOUR).await;
    world.outside().remotes.remove("remote-2");
    world.pass(4 * HOUR).await;
    assert_eq!(world.outside().creates, 5);
    assert_in_order(&world, 4);
}

#[tokio::test(start_paused = true)]
async fn of_two_objects_for_one_remote_the_second_takes_over() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    world.declare("subscription-0-renamed", subscription(0, "source-0"));
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    assert_eq!(world.outside().creates, 1);
    let waiting = world.status("subscription-0-renamed");
    assert_eq!(ready(&waiting), (ConditionStatus::False, Reason::Conflict));
    world.outside().subscriptions.remove(&key("subscription-0"));
    let gone = Change::Gone { kind: Kind::WebhookSubscription, key: key("subscription-0"), prune: false };
    engine.send(gone).await;
    world.pass(MINUTE).await;
    assert_eq!(world.outside().released, [key("subscription-0")]);
    assert_eq!(world.status("subscription-0-renamed").webhook_id.as_deref(), Some("remote-1"));
    world.pass(DAY).await;
    assert_eq!(world.outside().creates, 1);
    assert_in_order(&world, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_new_objects_with_one_id_the_older_has_it() {
    let world = World::new(Settings::default());
    world.declare_provider("provider");
    world.declare_source("source-0");
    let token = String::new();
    let there = Remote {
        action: "action.0".into(),
        url: "https://integrations.example.com/in".into(),
        active: true,
        token,
    };
    world.outside().remotes.insert("there".into(), there);
    for name in ["a", "b"] {
        let mut spec = subscription(0, "source-0");
        spec.webhook_id = Some("there".into());
        world.declare(name, spec);
    }
    let _engine = world.start();
    world.pass(MINUTE).await;
    assert_eq!(ready(&world.status("a")), (ConditionStatus::True, Reason::Adopted));
    assert_eq!(ready(&world.status("b")), (ConditionStatus::False, Reason::Conflict));
}

#[tokio::test(start_paused = true)]
async fn an_existing_remote_is_taken_over_only_when_asked() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let there = Remote {
        action: "action.0".into(),
        url: "https://integrations.example.com/in".into(),
        active: true,
        token: String::new(),
    };
    world.outside().remotes.insert("there".into(), there);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(ready(&status), (ConditionStatus::False, Reason::AlreadyExists));
    edit(&world, &engine, "subscription-0", |spec| {
        spec.adoption_policy = Some(AdoptionPolicy::Matching);
    })
    .await;
    world.pass(MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(status.webhook_id.as_deref(), Some("there"));
    assert_eq!(ready(&status), (ConditionStatus::True, Reason::Adopted));
    assert_eq!(world.outside().creates, 0);
    assert_in_order(&world, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_stays_with_its_object() {
    for operation in ["create", "update", "list"] {
        let world = World::new(Settings::default());
        world.populate(3, 1);
        world.outside().fault_for = Some(once(operation, CallFault::Panic));
        let engine = world.start();
        world.pass(2 * HOUR).await;
        engine.assert_alive();
        assert_in_order(&world, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_makes_nothing_late_or_endless() {
    for hours in [10, -10] {
        let world = World::new(Settings::default());
        world.populate(4, 2);
        let engine = world.start();
        world.pass(10 * MINUTE).await;
        world.outside().wall_shift = TimeDelta::hours(hours);
        world.pass(10 * MINUTE).await;
        // A clock set forward ends the tokens' lives at once: that is no fault of ours.
        world.outside().late.clear();
        let mints = world.outside().mints;
        assert!((3..=6).contains(&mints), "{mints} mints after {hours} h");
        world.pass(DAY).await;
        engine.assert_alive();
        let mints = world.outside().mints;
        assert!(mints < 2 * 45, "{mints} mints");
        let lists = world.outside().lists;
        assert!(lists < 100, "{lists} listings");
        assert_in_order(&world, 4);
        assert_eq!(world.outside().creates, 4);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_comes_after_the_clock_was_set_back_is_created_once() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    world.outside().wall_shift = TimeDelta::hours(-10);
    world.declare("subscription-9", subscription(9, "source-0"));
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let change = world.outside().change(&key("subscription-9"));
    engine.send(change).await;
    world.pass(20 * MINUTE).await;
    assert_in_order(&world, 3);
    assert_eq!(world.outside().creates, 3);
    let lists = world.outside().lists;
    assert!(lists < 20, "{lists} listings");
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_applied_with_the_token_in_hand() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    edit(&world, &engine, "subscription-0", |spec| {
        spec.postback_url = "https://elsewhere.example.com/in".into();
    })
    .await;
    world.pass(MINUTE).await;
    let outside = world.outside();
    assert_eq!((outside.mints, outside.creates, outside.updates), (1, 2, 1));
    assert_eq!(outside.remotes["remote-1"].url, "https://elsewhere.example.com/in");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_subscription_is_left_alone_and_says_when_its_token_ends() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    edit(&world, &engine, "subscription-0", |spec| spec.suspend = Some(true)).await;
    world.pass(30 * MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    world.pass(30 * MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(ready(&status), (ConditionStatus::False, Reason::TokenExpired));
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (1, 0));
    edit(&world, &engine, "subscription-0", |spec| spec.suspend = None).await;
    world.pass(MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_doubles_nothing() {
    for takes_effect in [true, false] {
        for failing in 1..=6 {
            let world = World::new(Settings::default());
            world.populate(1, 1);
            let mut left = failing;
            world.outside().record_fault = Some(Box::new(move |_| {
                left -= 1;
                let failure = RecordFailure::Unavailable("conflict".into());
                (left >= 0).then_some((takes_effect, failure))
            }));
            let engine = world.start();
            world.pass(20 * MINUTE).await;
            engine.assert_alive();
            assert_in_order(&world, 1);
            assert_eq!(world.outside().creates, 1, "{failing} records failed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_server_that_is_down_is_asked_with_patience() {
    use hookkeeper::engine::ports::MintFailure;
    let world = World::new(Settings::default());
    world.populate(10, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, MINUTE).await;
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&asked);
    world.outside().mint_fault = Some(Box::new(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(MintFailure::Unanswered { what: "timeout".into() })
    }));
    world.pass(10 * MINUTE).await;
    let records = world.outside().records;
    assert!(records < 100, "{records} records");
    let attempts = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!((5..30).contains(&attempts), "{attempts} attempts");
    let status = world.status("subscription-0");
    assert_eq!(ready(&status).0, ConditionStatus::True, "the token in place still lives");
    assert!(status.failures.is_some());
    world.outside().mint_fault = None;
    world.pass(10 * MINUTE).await;
    engine.assert_alive();
    assert_in_order(&world, 10);
}
