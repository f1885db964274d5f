//! Providers that refuse, fail and fall silent.

use hookkeeper::api::{ConditionStatus, Reason, WebhookProviderSpec};
use hookkeeper::engine::ports::CallFailure;

use super::{
    DAY, HOUR, MINUTE, SECOND, answered, asked, assert_in_order, edit, once, pass_until_due, ready, refused,
};
use crate::world::{CallFault, Settings, World, subscription};

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
    world.outside().fault_for = Some(Box::new(|_, _| Some(refused(503))));
    world.pass(20 * MINUTE).await;
    world.outside().fault_for = None;
    world.pass(20 * MINUTE).await;
    engine.assert_alive();
    assert_in_order(&world, 100);
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
async fn a_retry_after_of_a_day_counts_as_an_hour() {
    let world = World::new(Settings { token_life: 2 * DAY, ..Settings::default() });
    world.populate(3, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, SECOND).await;
    let limited = CallFault::Refused(answered(429, Some(DAY)));
    world.outside().fault_for = Some(once("update", limited));
    world.pass(10 * SECOND).await;
    let sent = world.outside().received.len();
    world.pass(HOUR - MINUTE).await;
    assert_eq!(world.outside().received.len(), sent, "nothing is sent within the hour");
    world.pass(2 * MINUTE).await;
    assert_eq!(world.outside().updates, 3);
    assert_in_order(&world, 3);
}

#[tokio::test(start_paused = true)]
async fn a_429_without_retry_after_doubles_from_30_s_to_5_min() {
    let world = World::new(Settings { token_life: 7 * DAY, ..Settings::default() });
    world.populate(1, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    pass_until_due(&world, SECOND).await;
    let before = world.outside().received.len();
    world.outside().fault_for = Some(Box::new(|_, _| Some(refused(429))));
    world.pass(25 * MINUTE).await;
    let outside = world.outside();
    let calls: Vec<_> = outside.received[before..].iter().filter(|call| call.operation != "mint").collect();
    let gaps: Vec<i64> = calls.windows(2).map(|two| (two[1].at - two[0].at).num_seconds()).collect();
    assert_eq!(gaps[..6], [30, 60, 120, 240, 300, 300]);
}

/// Several calls were under way when the provider began to refuse: it asked once.
#[tokio::test(start_paused = true)]
async fn several_429s_at_once_count_as_one_and_the_longest_counts() {
    for (asked_for, quiet) in
        [([None; 5], MINUTE / 2), ([Some(10 * MINUTE), None, None, None, Some(SECOND)], 10 * MINUTE)]
    {
        let world = World::new(Settings { token_life: DAY, ..Settings::default() });
        world.populate(5, 1);
        let _engine = world.start();
        world.pass(MINUTE).await;
        pass_until_due(&world, SECOND).await;
        let mut left = asked_for.into_iter();
        world.outside().fault_for = Some(Box::new(move |operation, _| {
            let retry_after = (operation == "update").then(|| left.next()).flatten()?;
            Some(CallFault::Refused(answered(429, retry_after)))
        }));
        world.pass(2 * SECOND).await;
        assert_eq!(asked(&world, "update"), 5);
        world.pass(quiet - 3 * SECOND).await;
        assert_eq!(asked(&world, "update"), 5, "nothing is sent within {quiet:?}");
        world.pass(5 * SECOND).await;
        assert_eq!(world.outside().updates, 5, "after {quiet:?}");
    }
}

/// The older request was still under way when its sender gave up on it.
#[tokio::test(start_paused = true)]
async fn an_older_update_that_lands_last_does_not_stay() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(1, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    world.outside().fault_for = Some(once("update", CallFault::Late(15 * SECOND)));
    edit(&world, &engine, "subscription-0", |spec| spec.postback_url = "https://old.example.com/".into())
        .await;
    world.pass(11 * SECOND).await;
    edit(&world, &engine, "subscription-0", |spec| spec.postback_url = "https://new.example.com/".into())
        .await;
    world.pass(2 * SECOND).await;
    assert_eq!(world.outside().remotes["remote-1"].url, "https://new.example.com/");
    world.pass(5 * SECOND).await;
    assert_eq!(world.outside().remotes["remote-1"].url, "https://old.example.com/", "it landed last");
    world.pass(MINUTE).await;
    assert_eq!(world.outside().remotes["remote-1"].url, "https://new.example.com/");
    world.pass(HOUR).await;
    assert_eq!(asked(&world, "update"), 4, "the old one twice, the new one, and that once more");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_held_back_holds_back_no_other() {
    let world = World::new(Settings::default());
    world.declare_source("source-0");
    for (name, base_url) in [("one", "https://one.example.com"), ("other", "https://other.example.com")] {
        let spec = WebhookProviderSpec { base_url: Some(base_url.into()), ..WebhookProviderSpec::default() };
        world.declare_provider_as(name, spec);
        let mut spec = subscription(0, "source-0");
        spec.provider_ref.name = name.into();
        spec.action = Some(name.into());
        world.declare(name, spec);
    }
    let limited = CallFault::Refused(answered(429, Some(HOUR)));
    world.outside().fault_for = Some(super::whenever("one", limited));
    let _engine = world.start();
    world.pass(50 * MINUTE).await;
    let of = |name: &str| world.outside().received.iter().filter(|call| call.about == name).count();
    assert_eq!(of("one"), 1);
    assert_eq!(ready(&world.status("one")), (ConditionStatus::False, Reason::RateLimited));
    assert_eq!(of("other"), 2, "created and rotated");
    assert_eq!(ready(&world.status("other")).0, ConditionStatus::True);
}
