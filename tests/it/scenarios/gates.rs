//! A gate knows each token before the provider does, and makes no rotation late.

use chrono::TimeDelta;
use hookkeeper::api::{ConditionStatus, PublishTo, Reason, TokenSourceSpec};
use hookkeeper::engine::change::Change;
use hookkeeper::engine::{Options, ports::MintFailure};

use super::{
    DAY, HOUR, MINUTE, SECOND, asked, assert_in_order, counts, edit, hand_over, health, key, pass_until_due,
    ready,
};
use crate::world::{GateConduct, Running, Settings, World};

/// So many subscriptions of a source whose tokens a receiver names.
fn served(settings: Settings, subscriptions: usize) -> World {
    let world = World::new(settings);
    world.populate(subscriptions, 1);
    world.outside().gate.serves.insert(key("source-0"));
    world
}

fn publishing(world: &World) {
    let spec = TokenSourceSpec {
        publish_to: Some(PublishTo { secret_name: "published".into(), ..PublishTo::default() }),
        ..world.outside().sources[&key("source-0")].clone()
    };
    world.declare_source_as("source-0", spec);
}

fn conducts(world: &World, conduct: GateConduct) {
    world.outside().gate.conduct = conduct;
}

/// Refused deliveries, and tokens that were applied without the gate.
fn harm(world: &World) -> (u64, u64) {
    counts(world, |outside| (outside.gate.refused, outside.gate.behind))
}

fn told(world: &World) -> usize {
    let outside = world.outside();
    outside.notices.iter().filter(|notice| notice.reason == Reason::GateBehind && notice.warning).count()
}

/// How long after its mint the newest token was applied first.
fn waited(world: &World) -> TimeDelta {
    let outside = world.outside();
    let last = |operation: &str| outside.received.iter().rposition(|it| it.operation == operation).unwrap();
    let minted = last("mint");
    let applied = outside.received[minted..].iter().find(|it| matches!(it.operation, "create" | "update"));
    applied.unwrap().at - outside.received[minted].at
}

async fn restarted(world: &World, engine: Running) -> Running {
    engine.kill().await;
    world.start()
}

#[tokio::test(start_paused = true)]
async fn no_delivery_is_refused_however_often_tokens_move() {
    for conduct in [GateConduct::Prompt, GateConduct::Late(SECOND)] {
        for publishes in [false, true] {
            let world = served(Settings { token_life: 20 * SECOND, ..Settings::default() }, 3);
            conducts(&world, conduct);
            if publishes {
                publishing(&world);
            }
            let _engine = world.start();
            world.pass(HOUR).await;
            assert_in_order(&world, 3);
            assert_eq!(harm(&world), (0, 0), "{conduct:?}, publishes: {publishes}");
            let (mints, offers) = counts(&world, |outside| (outside.mints, outside.gate.offers.len() as u64));
            assert!(mints > 150, "{mints}");
            assert_eq!(offers, mints, "each once");
        }
    }
}

/// The same world without a barrier: its deliveries are refused, so the test above would see it.
#[tokio::test(start_paused = true)]
async fn without_the_barrier_deliveries_are_refused() {
    let world = served(Settings { token_life: 20 * SECOND, ..Settings::default() }, 3);
    conducts(&world, GateConduct::Lies(SECOND));
    let _engine = world.start();
    world.pass(HOUR).await;
    let (refused, mints) = counts(&world, |outside| (outside.gate.refused, outside.mints));
    assert_eq!(refused, 3 * mints, "the first delivery of each");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_does_not_take_a_token_in_makes_no_rotation_late() {
    for conduct in [GateConduct::Hangs, GateConduct::Fails, GateConduct::Panics, GateConduct::Late(HOUR)] {
        for life in [20 * SECOND, HOUR, 3 * DAY] {
            let world = served(Settings { token_life: life, ..Settings::default() }, 3);
            conducts(&world, conduct);
            let engine = world.start();
            world.pass(10 * life).await;
            engine.assert_alive();
            assert_in_order(&world, 3);
            let status = world.status("subscription-0");
            assert_eq!(health(&status), (ConditionStatus::True, Reason::Succeeded), "{conduct:?}");
            let (mints, behind) = counts(&world, |outside| (outside.mints, outside.gate.behind));
            assert!((13..=16).contains(&mints), "{conduct:?}, {life:?}: {mints} mints, when they are due");
            assert_eq!(behind, mints, "{conduct:?}, {life:?}");
            assert_eq!(told(&world) as u64, mints, "once for each token, {conduct:?}");
        }
    }
}

/// A lead of 24 h / 3 is more than four times two minutes.
#[tokio::test(start_paused = true)]
async fn it_is_waited_for_the_gate_two_minutes_at_the_most_and_as_long_again_after_publishing() {
    let around = |seconds: i64| TimeDelta::seconds(seconds - 1)..TimeDelta::seconds(seconds + 2);
    for (publishes, revokes, conduct, longest) in [
        (false, false, GateConduct::Hangs, 120),
        (true, false, GateConduct::Prompt, 120),
        (true, false, GateConduct::Hangs, 240),
        // The token before may be dead since the mint: it gets no more time.
        (true, true, GateConduct::Hangs, 120),
        (false, true, GateConduct::Hangs, 120),
    ] {
        let world = served(Settings { token_life: DAY, revokes, ..Settings::default() }, 1);
        if publishes {
            publishing(&world);
        }
        let _engine = world.start();
        world.pass(MINUTE * 10).await;
        pass_until_due(&world, SECOND).await;
        conducts(&world, conduct);
        world.pass(10 * MINUTE).await;
        let waited = waited(&world);
        assert!(around(longest).contains(&waited), "{publishes} {revokes} {conduct:?}: {waited}");
        let behind = u64::from(conduct == GateConduct::Hangs);
        assert_eq!(harm(&world), (behind, behind), "{publishes} {revokes} {conduct:?}");
    }
}

/// The token server comes back half a minute before the token in place ends.
#[tokio::test(start_paused = true)]
async fn a_late_token_is_applied_at_once_although_the_gate_is_away() {
    let world = served(Settings { token_life: 5 * MINUTE, ..Settings::default() }, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    conducts(&world, GateConduct::Hangs);
    let back = world.status("subscription-0").token_expiration_time.unwrap() - TimeDelta::seconds(30);
    pass_until_due(&world, SECOND).await;
    world.outside().mint_fault = Some(Box::new(|_| Some(MintFailure::Unanswered { what: "timeout".into() })));
    world.pass((back - world.wall()).to_std().unwrap()).await;
    world.outside().mint_fault = None;
    world.pass(MINUTE).await;
    assert!(waited(&world) < TimeDelta::seconds(1), "{}", waited(&world));
    assert_in_order(&world, 1);
    assert_eq!(harm(&world), (1, 1));
}

/// After the pause it is waited for no longer than it takes.
#[tokio::test(start_paused = true)]
async fn a_gate_that_knows_a_published_token_late_is_waited_for() {
    let world = served(Settings { token_life: DAY, ..Settings::default() }, 1);
    publishing(&world);
    let _engine = world.start();
    world.pass(MINUTE * 10).await;
    pass_until_due(&world, SECOND).await;
    conducts(&world, GateConduct::Fails);
    world.pass(140 * SECOND).await;
    conducts(&world, GateConduct::Prompt);
    world.pass(2 * MINUTE).await;
    let waited = waited(&world).num_seconds();
    assert!((138..175).contains(&waited), "{waited} s");
    assert_eq!(harm(&world), (0, 0));
}

/// What it could not take in it is offered again, and knows it from then on.
#[tokio::test(start_paused = true)]
async fn a_gate_that_comes_back_gets_what_it_lacks() {
    for conduct in [GateConduct::Hangs, GateConduct::Fails] {
        let world = served(Settings { token_life: DAY, ..Settings::default() }, 1);
        let _engine = world.start();
        world.pass(MINUTE).await;
        conducts(&world, conduct);
        world.outside().rotate_requested.insert(key("subscription-0"), "now".into());
        hand_over(&world, &_engine, "subscription-0").await;
        world.pass(30 * MINUTE).await;
        let offers = counts(&world, |outside| outside.gate.offers.len());
        assert!(offers < 100, "{conduct:?}: {offers} offers, with patience");
        conducts(&world, GateConduct::Prompt);
        world.pass(4 * MINUTE).await;
        let carried = world.status("subscription-0").token_fingerprint.unwrap();
        assert!(world.outside().gate.kept.values().any(|kept| *kept == carried), "{conduct:?}");
        let offers = counts(&world, |outside| outside.gate.offers.len());
        world.pass(HOUR).await;
        assert_eq!(counts(&world, |outside| outside.gate.offers.len()), offers, "and then no more");
        assert_eq!(counts(&world, |outside| outside.mints), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_gate_knows_what_it_was_handed() {
    for publishes in [false, true] {
        let world = served(Settings { token_life: DAY, ..Settings::default() }, 2);
        if publishes {
            publishing(&world);
        }
        let engine = world.start();
        world.pass(10 * MINUTE).await;
        let engine = restarted(&world, engine).await;
        world.pass(10 * MINUTE).await;
        assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (1, 0));
        // A receiver whose store has been lost, or that was not there before.
        engine.kill().await;
        world.outside().gate.kept.clear();
        let _engine = world.start();
        world.pass(10 * MINUTE).await;
        let carried = world.status("subscription-0").token_fingerprint.unwrap();
        assert!(world.outside().gate.kept.values().any(|kept| *kept == carried));
        let mints = counts(&world, |outside| outside.mints);
        assert_eq!(mints, if publishes { 1 } else { 2 }, "what is published is in hand, and nothing else is");
        assert_eq!(harm(&world), (0, 0));
        assert_in_order(&world, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_comes_later_is_handed_the_token_in_hand() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(2, 1);
    let engine = world.start();
    world.pass(MINUTE).await;
    assert!(world.outside().gate.carried.is_empty(), "nobody is told who does not ask");
    world.outside().gate.serves.insert(key("source-0"));
    engine.send(Change::Gates(key("source-0"))).await;
    // The subscription is led to it with the same token at the same time.
    edit(&world, &engine, "subscription-0", |spec| spec.postback_url = "https://gate.example.com/in".into())
        .await;
    world.pass(MINUTE).await;
    assert_eq!(counts(&world, |outside| (outside.mints, outside.updates)), (1, 1));
    assert_eq!(harm(&world), (0, 0));
    // Nobody takes the source's tokens any more.
    conducts(&world, GateConduct::Hangs);
    world.outside().rotate_requested.insert(key("subscription-0"), "now".into());
    hand_over(&world, &engine, "subscription-0").await;
    world.pass(SECOND).await;
    let updates = asked(&world, "update");
    world.outside().gate.serves.clear();
    engine.send(Change::Gates(key("source-0"))).await;
    world.pass(SECOND).await;
    assert_eq!(asked(&world, "update"), updates + 2, "nobody is waited for any more");
    assert_eq!(counts(&world, |outside| outside.gate.behind), 0);
}

/// A platform goes on to deliver with the token that a subscription carries, whoever has moved on.
#[tokio::test(start_paused = true)]
async fn the_gate_is_told_which_tokens_are_still_carried() {
    let world = served(Settings { token_life: 10 * DAY, ..Settings::default() }, 3);
    let engine = world.start();
    world.pass(MINUTE).await;
    let carried = || world.outside().gate.carried[&key("source-0")].clone();
    let of = |name: &str| world.status(name).token_fingerprint.unwrap();
    let first = of("subscription-0");
    assert_eq!(carried().iter().map(|it| it.to_string()).collect::<Vec<_>>(), std::slice::from_ref(&first));
    edit(&world, &engine, "subscription-1", |spec| spec.suspend = Some(true)).await;
    world.outside().rotate_requested.insert(key("subscription-0"), "now".into());
    hand_over(&world, &engine, "subscription-0").await;
    world.pass(MINUTE).await;
    let second = of("subscription-0");
    assert_eq!((of("subscription-1"), of("subscription-2")), (first.clone(), second.clone()));
    let mut both = [first, second];
    both.sort();
    assert_eq!(carried().iter().map(|it| it.to_string()).collect::<Vec<_>>(), both);
    // After a restart it is told again.
    world.outside().gate.carried.clear();
    let engine = restarted(&world, engine).await;
    world.pass(MINUTE).await;
    assert_eq!(carried().len(), 2);
    edit(&world, &engine, "subscription-1", |spec| spec.suspend = None).await;
    world.pass(MINUTE).await;
    assert_eq!(carried().len(), 1, "all have moved");
}

/// One that does not answer holds up nothing that is not its own.
#[tokio::test(start_paused = true)]
async fn gates_that_hang_hold_nobody_else_up() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.populate(200, 200);
    for number in 1..200 {
        world.outside().gate.serves.insert(key(&format!("source-{number}")));
    }
    conducts(&world, GateConduct::Hangs);
    let engine = world.start_with(Options { recorders: 4, workers: 4, ..Options::default() });
    world.pass(10 * SECOND).await;
    assert_eq!(ready(&world.status("subscription-0")).0, ConditionStatus::True);
    assert_eq!(counts(&world, |outside| outside.creates), 1);
    let stopping = world.wall();
    engine.stop().await;
    assert!(world.wall() - stopping < TimeDelta::seconds(1), "and is not waited for at the end");
}
