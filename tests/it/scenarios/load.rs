//! Many subscriptions of one provider: which come first, and what a budget is shared by.

use hookkeeper::api::{Limits, WebhookProviderSpec};
use hookkeeper::engine::Options;

use super::{
    DAY, HOUR, MINUTE, SECOND, assert_in_order, declare, hand_over_provider, hand_over_source, key, refused,
};
use crate::world::{Running, Settings, World, subscription};

fn number_of(action: &str) -> usize {
    action.strip_prefix("action.").unwrap().parse().unwrap()
}

/// Declares subscriptions with these numbers and one source while the engine runs.
async fn join(world: &World, engine: &Running, numbers: std::ops::Range<usize>, source: &str) {
    world.declare_source(source);
    hand_over_source(world, engine, source).await;
    for number in numbers {
        declare(world, engine, &format!("subscription-{number}"), subscription(number, source)).await;
    }
}

/// So many requests a minute from now on.
async fn limit(world: &World, engine: &Running, requests: i32) {
    let limits = Limits { requests_per_minute: Some(requests), ..Limits::default() };
    world.outside().providers.get_mut(&key("provider")).unwrap().limits = Some(limits);
    hand_over_provider(world, engine, "provider").await;
}

/// Two provider objects with these specs and so many subscriptions each.
fn two_providers(world: &World, specs: [(&str, WebhookProviderSpec); 2], subscriptions: usize) {
    world.declare_source("source-0");
    for (name, spec) in specs {
        world.declare_provider_as(name, spec);
        for number in 0..subscriptions {
            let mut spec = subscription(number, "source-0");
            spec.provider_ref.name = name.into();
            spec.action = Some(format!("{name}.{number}"));
            world.declare(&format!("{name}-{number}"), spec);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_that_always_fail_make_none_of_two_thousand_late() {
    for code in [422, 500] {
        let settings = Settings { token_life: 4 * HOUR, requests_per_minute: 19, ..Settings::default() };
        let world = World::new(settings);
        world.declare_provider("provider");
        let engine = world.start();
        // A rotation comes after 155 minutes or so: 13 of the 19 requests of each minute are needed.
        let (groups, size) = (55, 40);
        for group in 0..groups {
            join(&world, &engine, group * size..(group + 1) * size, &format!("source-{group}")).await;
            world.pass(155 * MINUTE / u32::try_from(groups).unwrap()).await;
        }
        assert_eq!(world.outside().creates, 2_200);
        world.outside().fault_for = Some(Box::new(move |operation, about| {
            let fails = operation == "update" && number_of(about).is_multiple_of(11);
            fails.then(|| refused(code))
        }));
        world.pass(12 * HOUR).await;
        engine.assert_alive();
        let wall = world.wall();
        let outside = world.outside();
        assert_eq!(outside.late, [], "{code}: late rotations of healthy ones");
        assert_eq!(outside.dead(wall).len(), 200, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_long_outage_the_living_come_before_the_dead() {
    let world = World::new(Settings { requests_per_minute: 600, ..Settings::default() });
    world.declare_provider("provider");
    let engine = world.start();
    // Three groups, by when their tokens expire: two in the outage, and one soon after it.
    join(&world, &engine, 0..30, "source-0").await;
    world.pass(8 * MINUTE).await;
    join(&world, &engine, 30..60, "source-1").await;
    world.pass(22 * MINUTE).await;
    join(&world, &engine, 60..75, "source-2").await;
    world.pass(5 * MINUTE).await;
    limit(&world, &engine, 12).await;
    world.outside().fault_for = Some(Box::new(|_, _| Some(refused(503))));
    world.pass(45 * MINUTE).await;
    world.outside().fault_for = None;
    let sent = world.outside().received.len();
    world.pass(12 * MINUTE).await;
    let wall = world.wall();
    let outside = world.outside();
    assert_eq!(outside.dead(wall), Vec::<&str>::new());
    assert_eq!(outside.late.len(), 60, "none of the living lapsed");
    let mut order = Vec::new();
    for call in outside.received[sent..].iter().filter(|call| call.operation == "update") {
        let number = number_of(&call.about);
        if !order.contains(&number) {
            order.push(number);
        }
    }
    let last_living = order.iter().rposition(|number| *number >= 60).unwrap();
    let expired: Vec<usize> = order.iter().copied().filter(|number| *number < 60).collect();
    let between = order[..last_living].iter().filter(|number| **number < 60).count();
    assert!(between * 3 >= last_living - 3, "at least a third for the expired: {order:?}");
    assert!(between * 2 <= last_living + 2, "and no more than half: {order:?}");
    let recent = expired.iter().take(30).filter(|number| **number >= 30).count();
    assert!(recent >= 25, "the most recently expired first: {order:?}");
}

#[tokio::test(start_paused = true)]
async fn work_that_cannot_be_done_in_time_is_told_ahead() {
    let world = World::new(Settings::default());
    world.populate(100, 1);
    let engine = world.start_with(Options { gauges_every: 5 * SECOND, ..Options::default() });
    world.pass(MINUTE).await;
    limit(&world, &engine, 2).await;
    let infeasible = |world: &World| world.outside().gauges.clone().unwrap().infeasible[0].1;
    world.pass(10 * MINUTE).await;
    assert_eq!(infeasible(&world), 0);
    // Due 40 minutes before the end, at two a minute.
    world.pass(15 * MINUTE).await;
    let (told, wall) = (infeasible(&world), world.wall());
    assert_eq!(world.outside().dead(wall), Vec::<&str>::new(), "no token has ended yet");
    assert!((15..=30).contains(&told), "{told}");
    world.pass(35 * MINUTE).await;
    let wall = world.wall();
    let dead = world.outside().dead(wall).len();
    assert!(dead.abs_diff(told) <= 3, "{dead} of {told} that were told");
}

#[tokio::test(start_paused = true)]
async fn provider_objects_of_one_origin_share_its_budget() {
    let world = World::new(Settings { token_life: DAY, ..Settings::default() });
    let with = |requests| {
        let limits = Limits { requests_per_minute: Some(requests), ..Limits::default() };
        WebhookProviderSpec { limits: Some(limits), ..WebhookProviderSpec::default() }
    };
    two_providers(&world, [("wide", with(60)), ("narrow", with(6))], 60);
    let engine = world.start();
    world.pass(MINUTE).await;
    let of = |name: &str| {
        let outside = world.outside();
        outside.received.iter().filter(|call| call.about.starts_with(name)).count()
    };
    // A minute's requests, and a burst of six seconds' worth.
    assert!(of("wide") + of("narrow") <= 66, "{} and {}", of("wide"), of("narrow"));
    world.pass(4 * MINUTE).await;
    assert_eq!(of("wide"), 60);
    assert!((20..=31).contains(&of("narrow")), "{} in 5 minutes at 6 a minute", of("narrow"));
    world.pass(30 * MINUTE).await;
    engine.assert_alive();
    assert_in_order(&world, 120);
}
