//! What people ask for: a rotation, a pause.

use chrono::DurationRound;
use hookkeeper::api::{ConditionStatus, ConditionType, Reason};
use hookkeeper::engine::Options;

use super::{
    DAY, HOUR, MINUTE, SECOND, answered, asked, assert_in_order, counts, declare, edit, hand_over,
    hand_over_provider, key, once, ready, refused,
};
use crate::world::{CallFault, Running, Settings, World, subscription};

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

async fn ask(world: &World, engine: &Running, name: &str, request: &str) {
    world.outside().rotate_requested.insert(key(name), request.into());
    hand_over(world, engine, name).await;
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_was_asked_for_is_done_once() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(3, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    ask(&world, &engine, "subscription-0", "please").await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 3), "for all members");
    assert_eq!(world.status("subscription-0").last_handled_rotate_request.as_deref(), Some("please"));
    hand_over(&world, &engine, "subscription-0").await;
    engine.stop().await;
    let engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 3));
    ask(&world, &engine, "subscription-0", "again").await;
    world.pass(MINUTE).await;
    assert_eq!(world.outside().mints, 3);
    assert_in_order(&world, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_new_object_is_only_recorded() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    // Its first rotation is to come anyway, with the token in hand.
    world.outside().rotate_requested.insert(key("new"), "please".into());
    declare(&world, &engine, "new", subscription(9, "source-0")).await;
    world.pass(HOUR).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.creates, outside.updates)), (1, 2, 0));
    assert_eq!(world.status("new").last_handled_rotate_request.as_deref(), Some("please"));
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_skips_the_objects_own_back_off_and_no_hold_back() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    // Its own back-off: refused documents are tried rarely.
    world.outside().fault_for = Some(super::whenever("action.0", refused(422)));
    edit(&world, &engine, "subscription-0", |spec| spec.active = Some(false)).await;
    world.pass(30 * MINUTE).await;
    let tried = asked(&world, "update");
    world.outside().fault_for = None;
    ask(&world, &engine, "subscription-0", "please").await;
    world.pass(5 * SECOND).await;
    assert_eq!(asked(&world, "update"), tried + 3, "its document, then a new token for both members");
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    // A hold-back of the origin.
    let limited = CallFault::Refused(answered(429, Some(10 * MINUTE)));
    world.outside().fault_for = Some(once("update", limited));
    edit(&world, &engine, "subscription-1", |spec| spec.active = Some(false)).await;
    world.pass(SECOND).await;
    let sent = asked(&world, "update");
    ask(&world, &engine, "subscription-0", "again").await;
    world.pass(9 * MINUTE).await;
    assert_eq!(asked(&world, "update"), sent, "nothing skips a hold-back");
    world.pass(2 * MINUTE).await;
    assert_eq!(world.status("subscription-0").last_handled_rotate_request.as_deref(), Some("again"));
    assert_in_order(&world, 2);
}

#[tokio::test(start_paused = true)]
async fn under_a_suspended_provider_nothing_is_called_and_the_end_of_a_token_is_told_once() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let engine = world.start_with(Options { gauges_every: MINUTE, ..Options::default() });
    world.pass(MINUTE).await;
    let suspend = |suspend| {
        world.outside().providers.get_mut(&key("provider")).unwrap().suspend = Some(suspend);
    };
    suspend(true);
    hand_over_provider(&world, &engine, "provider").await;
    let sent = world.outside().received.len();
    world.pass(DAY).await;
    assert_eq!(world.outside().received.len(), sent, "neither a call nor a mint");
    let gauges = world.outside().gauges.clone().unwrap();
    assert_eq!(gauges.rotation_overdue, 0.0, "nobody waits for these");
    assert!(gauges.subscriptions.iter().all(|row| row.state == "suspended" && row.expires.is_none()));
    for name in ["subscription-0", "subscription-1"] {
        assert_eq!(ready(&world.status(name)), (ConditionStatus::False, Reason::TokenExpired));
        let outside = world.outside();
        let told = outside
            .notices
            .iter()
            .filter(|told| told.reason == Reason::TokenExpired && told.key == key(name));
        assert_eq!(told.count(), 1, "{name}");
    }
    suspend(false);
    hand_over_provider(&world, &engine, "provider").await;
    world.pass(MINUTE).await;
    world.outside().late.clear();
    assert_in_order(&world, 2);
}

/// Nobody wonders why nothing happens: it is said when it will.
#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_asked_for_soon_after_a_mint_says_from_when_on_it_comes() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let engine = world.start();
    world.pass(10 * SECOND).await;
    let planned = world.status("subscription-0").next_rotation_time;
    let earliest = world.status("subscription-0").token_minted_time.unwrap() + 30 * SECOND;
    ask(&world, &engine, "subscription-0", "please").await;
    world.pass(SECOND).await;
    let status = world.status("subscription-0");
    assert_eq!(status.next_rotation_time, Some(earliest));
    let whole = earliest.duration_round_up(chrono::TimeDelta::seconds(1)).unwrap();
    let told = format!("asked for, not before {}", whole.format("%Y-%m-%dT%H:%M:%SZ"));
    for kind in [ConditionType::Ready, ConditionType::RotationHealthy] {
        let condition = status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        assert_eq!(condition.status, ConditionStatus::True);
        assert!(condition.message.contains(&told), "{told}: {}", condition.message);
    }
    assert_eq!(world.outside().mints, 1);
    world.pass(20 * SECOND).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (2, 1));
    let status = world.status("subscription-0");
    assert_eq!(status.last_handled_rotate_request.as_deref(), Some("please"));
    assert!(status.next_rotation_time > planned);
    let asks = |condition: &hookkeeper::api::Condition| condition.message.contains("asked for");
    assert!(!status.conditions.iter().any(asks));
}
