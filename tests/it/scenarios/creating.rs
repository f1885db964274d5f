//! A create happens once, whatever becomes of its answer and of whoever sent it.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::{ConditionStatus, Ownership, Reason};
use hookkeeper::engine::ports::CallFailure;

use super::{MINUTE, SECOND, URL, assert_in_order, by_hand, counts, declare, edit, once, ready};
use crate::world::{CallFault, Settings, World, subscription};

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
async fn a_create_that_answers_without_an_id_is_found_again() {
    let world = World::new(Settings::default());
    world.populate(2, 1);
    let no_id = CallFailure::Unreadable { what: "no id in the answer to a create".into() };
    world.outside().fault_for = Some(once("create", CallFault::Garbled(no_id)));
    let _engine = world.start();
    world.pass(4 * MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (2, 0), "it settles first");
    world.pass(4 * MINUTE).await;
    assert_in_order(&world, 2);
    assert_eq!(world.outside().creates, 2);
    for name in ["subscription-0", "subscription-1"] {
        assert_eq!(world.status(name).ownership, Some(Ownership::Created), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_while_a_create_is_open_looks_for_the_old_and_the_new() {
    let lost = CallFailure::Unanswered { what: "lost".into() };
    for fault in [CallFault::Lost, CallFault::Refused(lost)] {
        for (action, url) in [("action.9", URL), ("action.0", "https://elsewhere.example.com/in")] {
            let world = World::new(Settings::default());
            world.populate(1, 1);
            world.outside().fault_for = Some(once("create", fault.clone()));
            let engine = world.start();
            world.pass(MINUTE).await;
            edit(&world, &engine, "subscription-0", |spec| {
                spec.action = Some(action.into());
                spec.postback_url = url.into();
            })
            .await;
            world.pass(20 * MINUTE).await;
            assert_in_order(&world, 1);
            let outside = world.outside();
            assert_eq!(outside.creates, 1, "{fault:?}");
            let remote = &outside.remotes["remote-1"];
            assert_eq!((remote.action.as_str(), remote.url.as_str()), (action, url));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_match_of_the_old_and_one_of_the_new_are_ambiguous() {
    let world = World::new(Settings::default());
    world.populate(1, 1);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let engine = world.start();
    world.pass(MINUTE).await;
    by_hand(&world, "by-hand", 9);
    edit(&world, &engine, "subscription-0", |spec| spec.action = Some("action.9".into())).await;
    world.pass(20 * MINUTE).await;
    let status = world.status("subscription-0");
    assert_eq!(ready(&status), (ConditionStatus::False, Reason::Ambiguous));
    assert_eq!(counts(&world, |outside| (outside.creates, outside.updates)), (1, 0));
    edit(&world, &engine, "subscription-0", |spec| spec.webhook_id = Some("remote-1".into())).await;
    world.pass(MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    assert_eq!(world.outside().remotes["remote-1"].action, "action.9");
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_lags_behind_a_lost_create_doubles_nothing() {
    let world = World::new(Settings::default());
    world.outside().listing_lag = TimeDelta::minutes(4);
    world.populate(3, 1);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let _engine = world.start();
    world.pass(20 * MINUTE).await;
    assert_in_order(&world, 3);
    assert_eq!(world.outside().creates, 3);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_lags_behind_a_crash_doubles_nothing() {
    for moment in 0..40 {
        let world = World::new(Settings::default());
        world.outside().listing_lag = TimeDelta::minutes(4);
        world.outside().orphans = crate::world::Orphans::Arrive;
        world.populate(1, 1);
        let engine = world.start();
        world.pass(7 * moment * Duration::from_millis(1)).await;
        engine.kill().await;
        let engine = world.start();
        world.pass(2 * MINUTE).await;
        engine.kill().await;
        let _engine = world.start();
        world.pass(20 * MINUTE).await;
        assert_in_order(&world, 1);
        assert_eq!(world.outside().creates, 1, "at {moment}");
    }
}

/// Listings do not show the first ones yet; that does not make the credential another account's.
#[tokio::test(start_paused = true)]
async fn a_newcomer_beside_others_that_listings_do_not_show_yet_is_created_at_once() {
    let world = World::new(Settings::default());
    world.outside().listing_lag = TimeDelta::minutes(4);
    world.populate(5, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    declare(&world, &engine, "newcomer", subscription(9, "source-0")).await;
    world.pass(10 * SECOND).await;
    assert_eq!(ready(&world.status("newcomer")), (ConditionStatus::True, Reason::Created));
    world.pass(30 * MINUTE).await;
    assert_in_order(&world, 6);
    assert_eq!(world.outside().creates, 6);
}
