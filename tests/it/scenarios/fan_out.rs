//! One mint for all members of a source, and all of them brought to it.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::{ConditionStatus, InlineTokenSource, OAuth2TokenSource, Rotation};

use super::{DAY, MINUTE, assert_in_order, counts, key, pass_until_due, ready, refused};
use crate::world::{Outside, Settings, World, subscription};

/// How long a remote carried a dead token at most.
fn longest_stale(outside: &Outside) -> TimeDelta {
    outside.late.iter().map(|(_, late)| *late).max().unwrap()
}

/// Kills the engine when three of twelve members have the new token, and lets another one finish.
async fn cut_short_and_finish(world: &World) {
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    assert_eq!(counts(world, |outside| (outside.creates, outside.mints)), (12, 1));
    pass_until_due(world, Duration::ZERO).await;
    while world.outside().updates < 3 {
        world.pass(Duration::from_millis(100)).await;
    }
    engine.kill().await;
    let engine = world.start();
    world.pass(2 * MINUTE).await;
    assert_eq!(world.outside().mints, 3, "one for all that were left and those that were not");
    engine.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_that_was_cut_short_is_finished_with_one_mint() {
    let world = World::new(Settings { requests_per_minute: 60, ..Settings::default() });
    world.populate(12, 1);
    cut_short_and_finish(&world).await;
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
    let longest = longest_stale(&outside);
    assert!(longest < TimeDelta::seconds(3), "stale for {longest}: n/r is 2 s");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_written_out_in_its_members_is_one_source() {
    let world = World::new(Settings { requests_per_minute: 60, ..Settings::default() });
    world.declare_provider("provider");
    let oauth2 = OAuth2TokenSource { audience: Some("gate".into()), ..OAuth2TokenSource::default() };
    for number in 0..12 {
        let mut spec = subscription(number, "");
        spec.token_source_ref = None;
        spec.token_source =
            Some(InlineTokenSource { oauth2: Some(oauth2.clone()), ..InlineTokenSource::default() });
        world.declare(&format!("subscription-{number}"), spec);
    }
    cut_short_and_finish(&world).await;
    assert_in_order(&world, 12);
}

/// The others are finished with one mint, and the one that cannot be updated asks for no more.
#[tokio::test(start_paused = true)]
async fn a_member_that_cannot_be_updated_keeps_nobody_and_mints_nothing() {
    let world = World::new(Settings { requests_per_minute: 60, ..Settings::default() });
    world.populate(12, 1);
    let engine = world.start();
    world.pass(5 * MINUTE).await;
    pass_until_due(&world, Duration::ZERO).await;
    world.outside().fault_for = Some(Box::new(|operation, about| {
        (operation == "update" && about == "action.3").then(|| refused(422))
    }));
    while world.outside().updates < 3 {
        world.pass(Duration::from_millis(100)).await;
    }
    engine.kill().await;
    let engine = world.start();
    world.pass(30 * MINUTE).await;
    engine.assert_alive();
    assert_eq!(world.outside().mints, 3);
    let wall = world.wall();
    assert_eq!(world.outside().dead(wall).len(), 1, "its token has ended meanwhile");
    let (failing, healthy): (Vec<_>, Vec<_>) = (0..12)
        .map(|number| world.status(&format!("subscription-{number}")))
        .partition(|status| ready(status).0 == ConditionStatus::False);
    assert_eq!((failing.len(), healthy.len()), (1, 11));
    assert!(healthy.iter().all(|status| status.token_fingerprint == healthy[0].token_fingerprint));
    world.outside().fault_for = None;
    super::edit(&world, &engine, "subscription-3", |spec| spec.active = Some(true)).await;
    world.pass(MINUTE).await;
    assert_eq!(world.outside().mints, 3, "it takes the token in hand");
    assert_eq!(world.status("subscription-3").token_fingerprint, healthy[0].token_fingerprint);
    assert!(world.outside().statuses.contains_key(&key("subscription-3")));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_fails_makes_no_other_member_of_a_revoking_source_late() {
    for code in [422, 500] {
        let world = World::new(Settings { revokes: true, requests_per_minute: 600, ..Settings::default() });
        world.populate(20, 1);
        let engine = world.start();
        world.pass(MINUTE).await;
        world.outside().fault_for = Some(Box::new(move |operation, about| {
            (operation == "update" && about == "action.3").then(|| refused(code))
        }));
        world.pass(DAY).await;
        engine.assert_alive();
        let wall = world.wall();
        let outside = world.outside();
        assert_eq!(outside.dead(wall).len(), 1, "{code}");
        let longest = longest_stale(&outside);
        assert!(longest < TimeDelta::seconds(3), "{code}: stale for {longest}: n/r is 2 s");
    }
}

/// It is due long before the others, and its mint ends the tokens that they carry.
#[tokio::test(start_paused = true)]
async fn a_member_that_rotates_early_takes_the_others_along() {
    let world = World::new(Settings { revokes: true, requests_per_minute: 600, ..Settings::default() });
    world.populate(20, 1);
    let mut spec = subscription(3, "source-0");
    let renew_before = Some("35m".parse().unwrap());
    spec.rotation = Some(Rotation { renew_before, ..Rotation::default() });
    world.declare("subscription-3", spec);
    let engine = world.start();
    world.pass(DAY).await;
    engine.assert_alive();
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!(outside.dead(wall), Vec::<&str>::new());
    assert_eq!(outside.updates + outside.creates, outside.mints * 20);
    assert!(outside.mints > 50, "{} mints: every 25 minutes or so", outside.mints);
    let longest = longest_stale(&outside);
    assert!(longest < TimeDelta::seconds(3), "stale for {longest}: n/r is 2 s");
}
