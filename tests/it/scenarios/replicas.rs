//! Gates that are processes of their own read each token where it is published, and say when they have it.
//! It is brought to the provider when all have, or when they have had time enough.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::{PublishTo, Readers, Reason, TokenSourceSpec};

use super::{
    DAY, HOUR, MINUTE, SECOND, assert_in_order, counts, hand_over, hand_over_source, key, pass_until_due,
};
use crate::world::{Running, Settings, World, WriteFault};

/// So many subscriptions of a source that publishes to these readers.
fn published_for(readers: Readers, settings: Settings, subscriptions: usize) -> World {
    let world = World::new(settings);
    world.populate(subscriptions, 1);
    world.outside().gate.serves.insert(key("source-0"));
    let spec = TokenSourceSpec {
        publish_to: Some(PublishTo { secret_name: "published".into(), readers: Some(readers) }),
        ..world.outside().sources[&key("source-0")].clone()
    };
    world.declare_source_as("source-0", spec);
    world.outside().gate.in_cluster = true;
    world
}

fn settings(token_life: Duration) -> Settings {
    Settings { token_life, ..Settings::default() }
}

/// Refused deliveries, and tokens that were applied although a gate lacked them.
fn harm(world: &World) -> (u64, u64) {
    counts(world, |outside| (outside.gate.refused, outside.gate.behind))
}

/// What people were told of gates that lag behind.
fn told(world: &World) -> Vec<String> {
    let outside = world.outside();
    let behind = outside.notices.iter().filter(|notice| notice.reason == Reason::GateBehind);
    behind.map(|notice| notice.note.clone()).collect()
}

/// How long after its mint the newest token was applied.
fn waited(world: &World) -> TimeDelta {
    let outside = world.outside();
    let minted = outside.received.iter().rposition(|it| it.operation == "mint").unwrap();
    let applied = outside.received[minted..].iter().find(|it| matches!(it.operation, "create" | "update"));
    applied.unwrap().at - outside.received[minted].at
}

fn about(seconds: i64) -> std::ops::Range<TimeDelta> {
    TimeDelta::seconds(seconds - 1)..TimeDelta::seconds(seconds + 2)
}

fn loads_after(world: &World, gate: &str, takes: Option<Duration>) {
    world.outside().gate.replicas.get_mut(gate).unwrap().loads_after = takes;
}

/// An engine and its gates, all of which have the first token, a moment before the next one is minted.
async fn about_to_rotate(world: &World, gates: &[&str]) -> Running {
    for gate in gates {
        world.gate_appears(gate, Some(SECOND)).await;
    }
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    pass_until_due(world, SECOND).await;
    engine
}

#[tokio::test(start_paused = true)]
async fn no_delivery_is_refused_at_any_of_several_gates() {
    for readers in [Readers::Any, Readers::Gates] {
        for slowest in [Duration::from_millis(3), 2 * SECOND] {
            let world = published_for(readers, settings(40 * SECOND), 3);
            world.gate_appears("one", Some(Duration::from_millis(3))).await;
            world.gate_appears("two", Some(slowest)).await;
            let _engine = world.start();
            world.pass(HOUR).await;
            assert_in_order(&world, 3);
            assert_eq!(harm(&world), (0, 0), "{readers:?} {slowest:?}");
            assert!(counts(&world, |outside| outside.mints) > 80);
        }
    }
}

/// The same world with a gate that says it is there and loads nothing: the test above would see it.
#[tokio::test(start_paused = true)]
async fn one_that_loads_nothing_makes_no_rotation_late_and_is_told_of() {
    let world = published_for(Readers::Gates, settings(40 * SECOND), 3);
    world.gate_appears("one", Some(Duration::from_millis(3))).await;
    world.gate_appears("stuck", None).await;
    let _engine = world.start();
    world.pass(HOUR).await;
    assert_in_order(&world, 3);
    let mints = counts(&world, |outside| outside.mints);
    assert_eq!(harm(&world), (3 * mints, mints));
    let told = told(&world);
    assert_eq!(told.len() as u64, mints, "once for each token");
    assert!(told[0].contains("although the gate stuck has not taken it in"), "{}", told[0]);
}

#[tokio::test(start_paused = true)]
async fn the_pause_ends_early_only_where_gates_alone_read_and_all_have_the_token() {
    for (readers, slowest, wanted) in [
        (Readers::Any, Some(10 * SECOND), 120),
        (Readers::Gates, Some(10 * SECOND), 10),
        // After the pause one that is slow is waited for.
        (Readers::Any, Some(150 * SECOND), 150),
        (Readers::Gates, Some(150 * SECOND), 150),
        (Readers::Any, None, 240),
        (Readers::Gates, None, 240),
    ] {
        let world = published_for(readers, settings(DAY), 1);
        let _engine = about_to_rotate(&world, &["fast", "slow"]).await;
        loads_after(&world, "slow", slowest);
        world.pass(10 * MINUTE).await;
        let waited = waited(&world);
        assert!(about(wanted).contains(&waited), "{readers:?} {slowest:?}: {waited}");
        let behind = u64::from(slowest.is_none());
        assert_eq!(harm(&world), (behind, behind), "{readers:?} {slowest:?}");
        assert_in_order(&world, 1);
    }
}

/// The token before may be dead since the mint.
#[tokio::test(start_paused = true)]
async fn where_tokens_are_revoked_gates_get_no_more_time_than_readers() {
    for (slowest, wanted) in [(Some(10 * SECOND), 10), (None, 120)] {
        let world = published_for(Readers::Gates, Settings { revokes: true, ..settings(DAY) }, 1);
        let _engine = about_to_rotate(&world, &["fast", "slow"]).await;
        loads_after(&world, "slow", slowest);
        world.pass(10 * MINUTE).await;
        let waited = waited(&world);
        assert!(about(wanted).contains(&waited), "{slowest:?}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_is_waited_for_no_longer_and_one_that_comes_is() {
    let world = published_for(Readers::Gates, settings(DAY), 1);
    let _engine = about_to_rotate(&world, &["fast", "stuck"]).await;
    loads_after(&world, "stuck", None);
    world.pass(41 * SECOND).await;
    world.gate_goes("stuck").await;
    world.pass(10 * SECOND).await;
    assert!(about(40).contains(&waited(&world)), "{}", waited(&world));
    assert_eq!(harm(&world), (0, 0));

    let world = published_for(Readers::Gates, settings(DAY), 1);
    let _engine = about_to_rotate(&world, &["slow"]).await;
    loads_after(&world, "slow", Some(60 * SECOND));
    world.pass(51 * SECOND).await;
    world.gate_appears("new", Some(20 * SECOND)).await;
    world.pass(5 * MINUTE).await;
    assert!(about(70).contains(&waited(&world)), "{}", waited(&world));
    assert_eq!(harm(&world), (0, 0));
}

/// With nobody to say that the token has arrived, the pause is what it is for everybody.
#[tokio::test(start_paused = true)]
async fn without_a_gate_there_is_the_pause_and_nothing_more() {
    let world = published_for(Readers::Gates, settings(DAY), 1);
    let _engine = about_to_rotate(&world, &["one"]).await;
    world.gate_goes("one").await;
    world.pass(10 * MINUTE).await;
    assert!(about(120).contains(&waited(&world)), "{}", waited(&world));
    assert_eq!(harm(&world), (0, 0));
}

/// Whoever leads next waits no longer than the one before would have: the time counts from the mint.
#[tokio::test(start_paused = true)]
async fn a_new_leader_keeps_the_pause() {
    for (killed_after, slowest, wanted) in
        [(30, None, 240), (150, None, 240), (300, None, 240), (30, Some(100 * SECOND), 100)]
    {
        let world = published_for(Readers::Gates, settings(DAY), 1);
        let engine = about_to_rotate(&world, &["fast", "slow"]).await;
        loads_after(&world, "slow", slowest);
        world.pass((1 + killed_after) * SECOND).await;
        engine.kill().await;
        let _engine = world.start();
        world.pass(10 * MINUTE).await;
        let waited = waited(&world);
        assert!(about(wanted).contains(&waited), "{killed_after} {slowest:?}: {waited}");
        assert_eq!(counts(&world, |outside| outside.mints), 2, "what is published is applied");
        assert_in_order(&world, 1);
    }
}

/// Gates read a token when the status of its source names it: a status that could not be written is written
/// again before the token is applied.
#[tokio::test(start_paused = true)]
async fn a_token_is_named_again_where_that_failed() {
    let world = published_for(Readers::Gates, settings(DAY), 1);
    let _engine = about_to_rotate(&world, &["one", "two"]).await;
    // The Secret arrives, and the status after it does not.
    world.outside().write_faults.extend([None, Some(WriteFault::Lost)]);
    world.pass(10 * MINUTE).await;
    assert!(waited(&world) < TimeDelta::seconds(10), "{}", waited(&world));
    assert_eq!(harm(&world), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_in_hand_is_published_when_its_source_begins_to() {
    let world = World::new(settings(DAY));
    world.populate(1, 1);
    world.outside().gate.serves.insert(key("source-0"));
    world.gate_appears("one", Some(SECOND)).await;
    let engine = world.start();
    world.pass(10 * MINUTE).await;
    let first = world.status("subscription-0").token_fingerprint.unwrap();
    assert!(waited(&world) < TimeDelta::seconds(1), "what does not publish waits for no gate");
    assert_eq!(told(&world), Vec::<String>::new());
    for secret in ["published", "published-elsewhere"] {
        let spec = TokenSourceSpec {
            publish_to: Some(PublishTo { secret_name: secret.into(), readers: None }),
            ..world.outside().sources[&key("source-0")].clone()
        };
        world.outside().published.clear();
        world.outside().gate.replicas.get_mut("one").unwrap().loaded.clear();
        world.declare_source_as("source-0", spec);
        hand_over_source(&world, &engine, "source-0").await;
        world.pass(10 * SECOND).await;
        assert_eq!(world.outside().published[&key("source-0")].fingerprint, first, "{secret}");
        assert!(world.outside().gate.replicas["one"].loaded.contains_key(&first), "{secret}");
    }
    world.pass(HOUR).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.creates, outside.updates)), (1, 1, 0));
    world.outside().rotate_requested.insert(key("subscription-0"), "now".into());
    hand_over(&world, &engine, "subscription-0").await;
    world.pass(10 * MINUTE).await;
    assert_eq!(counts(&world, |outside| outside.mints), 2);
    assert_in_order(&world, 1);
}
