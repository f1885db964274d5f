//! A gate asks a platform with the tokens of a source: one is kept alive, though no subscription carries any.

use std::time::Duration;

use hookkeeper::api::{PublishTo, TokenSourceSpec};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::MintFailure;

use super::{DAY, HOUR, MINUTE, SECOND, counts, key};
use crate::world::{Settings, World};

/// A source of tokens that live an hour, with so many subscriptions, and a gate that asks with its tokens.
fn asked_with(subscriptions: usize) -> World {
    let world = World::new(Settings { token_life: HOUR, ..Settings::default() });
    world.populate(subscriptions, 1);
    world.outside().gate.asks.insert(key("source-0"));
    world
}

fn mints(world: &World) -> u64 {
    counts(world, |outside| outside.mints)
}

/// How many tokens the gate was handed that are alive.
fn alive(world: &World) -> usize {
    let outside = world.outside();
    let now = world.at(&outside);
    outside.gate.handed.values().filter(|end| end.is_none_or(|end| end > now)).count()
}

#[tokio::test(start_paused = true)]
async fn the_gate_has_a_live_token_all_the_time_though_nobody_carries_it() {
    let world = asked_with(0);
    let _engine = world.start();
    for _ in 0..100 {
        world.pass(7 * MINUTE).await;
        assert!(alive(&world) > 0, "at {}", world.wall());
    }
    // 700 minutes, and a token is replaced when a third of its hour is left, or a little sooner.
    assert!((17..=21).contains(&mints(&world)), "{}", mints(&world));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_minted_where_nobody_asks() {
    let world = asked_with(0);
    world.outside().gate.asks.clear();
    let engine = world.start();
    world.pass(DAY).await;
    assert_eq!(mints(&world), 0);
    world.outside().gate.asks.insert(key("source-0"));
    engine.send(Change::Gates(key("source-0"))).await;
    world.pass(SECOND).await;
    assert_eq!((mints(&world), alive(&world)), (1, 1));
    world.outside().gate.asks.clear();
    engine.send(Change::Gates(key("source-0"))).await;
    world.pass(DAY).await;
    assert_eq!(mints(&world), 1, "and no more when nobody asks any more");
}

#[tokio::test(start_paused = true)]
async fn a_token_server_that_is_away_is_asked_again_with_patience() {
    let world = asked_with(0);
    world.outside().mint_fault = Some(Box::new(|_| Some(MintFailure::Unanswered { what: "timeout".into() })));
    let _engine = world.start();
    world.pass(HOUR).await;
    let tried = counts(&world, |outside| outside.received.iter().filter(|it| it.operation == "mint").count());
    assert!((5..40).contains(&tried), "{tried} in an hour");
    world.outside().mint_fault = None;
    world.pass(10 * MINUTE).await;
    assert_eq!((mints(&world), alive(&world)), (1, 1));
}

/// Each mint moves all subscriptions, so there is none beside those that they need.
#[tokio::test(start_paused = true)]
async fn subscriptions_are_not_rotated_more_often_because_somebody_asks() {
    let of = async |asks: bool| {
        let world = asked_with(3);
        if !asks {
            world.outside().gate.asks.clear();
        }
        let engine = world.start();
        world.pass(5 * HOUR).await;
        engine.kill().await;
        let _engine = world.start();
        world.pass(5 * HOUR).await;
        counts(&world, |outside| (outside.mints, outside.updates))
    };
    assert_eq!(of(true).await, of(false).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_asked_with_after_a_restart_and_nothing_else_is_minted() {
    let world = asked_with(0);
    let published = Some(PublishTo { secret_name: "published".into() });
    let spec = world.outside().sources[&key("source-0")].clone();
    world.declare_source_as("source-0", TokenSourceSpec { publish_to: published, ..spec });
    let engine = world.start();
    world.pass(MINUTE).await;
    engine.kill().await;
    world.outside().gate.kept.clear();
    world.outside().gate.handed.clear();
    let _engine = world.start();
    world.pass(Duration::from_secs(10)).await;
    assert_eq!((mints(&world), alive(&world)), (1, 1));
}
