//! Clocks that are set, and a machine that sleeps.

use chrono::TimeDelta;
use hookkeeper::engine::Options;
use hookkeeper::engine::ports::{CallFailure, MintFailure};

use super::{DAY, HOUR, MINUTE, SECOND, answered, assert_in_order, edit, key, once, pass_until_due, refused};
use crate::world::{CallFault, Running, Settings, World, subscription};

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
async fn a_machine_that_slept_rotates_as_soon_as_it_wakes() {
    for hours in [0, 3] {
        let world = World::new(Settings::default());
        world.populate(6, 2);
        let engine = world.start_with(Options::default());
        world.pass(MINUTE).await;
        world.sleep_for(50 * MINUTE + hours * HOUR);
        world.pass(5 * SECOND).await;
        assert_eq!(world.outside().updates, 6, "after {hours} h");
        assert_eq!(world.outside().mints, 4, "one for each source");
        // A token that ended in its sleep is no fault of ours.
        world.outside().late.clear();
        world.pass(DAY).await;
        engine.assert_alive();
        assert_in_order(&world, 6);
    }
}

/// What a subscription may be waiting for.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    HeldBack,
    BackedOff,
    NoToken,
    Settling,
}

async fn begin_to_wait(world: &World, waiting: Waiting) -> Running {
    world.populate(2, 1);
    let lost = CallFailure::Unanswered { what: "lost".into() };
    if matches!(waiting, Waiting::Settling) {
        world.outside().fault_for = Some(once("create", CallFault::Refused(lost)));
    }
    let engine = world.start();
    world.pass(2 * MINUTE).await;
    if matches!(waiting, Waiting::NoToken) {
        let failure = MintFailure::Unanswered { what: "timeout".into() };
        world.outside().mint_fault = Some(Box::new(move |_| Some(failure.clone())));
        pass_until_due(world, SECOND).await;
        world.pass(20 * MINUTE).await;
    }
    let fault = match waiting {
        Waiting::HeldBack => CallFault::Refused(answered(429, Some(HOUR))),
        Waiting::BackedOff => refused(422),
        Waiting::NoToken | Waiting::Settling => return engine,
    };
    world.outside().fault_for = Some(super::whenever("action.0", fault));
    edit(world, &engine, "subscription-0", |spec| spec.active = Some(false)).await;
    world.pass(20 * MINUTE).await;
    engine
}

/// A recorded wait never counts for more than its cap from now, which is an hour at most.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_within_its_cap_however_the_clock_is_set() {
    for waiting in [Waiting::HeldBack, Waiting::BackedOff, Waiting::NoToken, Waiting::Settling] {
        for minutes in [-600, -15, -5, 5, 600] {
            for restarts in [false, true] {
                let world = World::new(Settings { token_life: DAY, ..Settings::default() });
                let mut engine = Some(begin_to_wait(&world, waiting).await);
                if restarts {
                    engine.take().unwrap().kill().await;
                }
                {
                    let mut outside = world.outside();
                    outside.wall_shift = TimeDelta::minutes(minutes);
                    outside.fault_for = None;
                    outside.mint_fault = None;
                }
                let engine = engine.unwrap_or_else(|| world.start());
                world.pass(61 * MINUTE).await;
                engine.assert_alive();
                world.outside().late.clear();
                let due = world.status("subscription-0").next_rotation_time.unwrap();
                // Where nothing is due any more, the last attempt is the one that failed.
                if !matches!(waiting, Waiting::NoToken) || due <= world.wall() {
                    assert_in_order(&world, 2);
                }
                let creates = world.outside().creates;
                assert_eq!(creates, 2, "{waiting:?} {minutes} {restarts}");
            }
        }
    }
}

/// What was sent before the clock was set forward was sent no longer ago because of that.
#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_while_a_create_settles_doubles_nothing() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    world.outside().listing_lag = TimeDelta::minutes(15);
    world.populate(2, 1);
    world.outside().fault_for = Some(once("create", CallFault::Lost));
    let _engine = world.start_with(Options::default());
    world.pass(MINUTE).await;
    // By the new clock the remote is ten minutes older, and still not shown for four minutes.
    world.outside().wall_shift = TimeDelta::minutes(11);
    world.pass(30 * MINUTE).await;
    assert_eq!(world.outside().creates, 2);
    assert_in_order(&world, 2);
}
