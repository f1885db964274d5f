//! Platforms that fail now and then, often, or for a while: nobody is late for that, and one that is
//! really away is left alone.

use std::time::Duration;

use hookkeeper::api::{ConditionStatus, ConditionType, Reason, WebhookSubscriptionSpec};
use hookkeeper::engine::ports::{CallFailure, MintFailure};

use super::{
    HOUR, MINUTE, SECOND, answered, asked, condition, declare, edit, hand_over_source, health, once,
    pass_until_due,
};
use crate::world::{CallFault, Running, Settings, World, subscription};

/// Random numbers that depend on the seed alone.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// From 0 up to 1,000.
    pub(super) fn roll(&mut self) -> u64 {
        // SplitMix64, by Steele, Lea and Flood.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) % 1_000
    }
}

/// How many of a thousand calls fail.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// They are answered 502, or their connection is closed; and so many of the mints.
    broken: u64,
    /// They take effect, and no answer comes.
    lost: u64,
}

fn closed() -> String {
    "the connection was closed".to_owned()
}

fn fail_at(world: &World, rate: Rate, seed: u64) {
    let mut dice = Dice(seed);
    world.outside().fault_for = Some(Box::new(move |_, _| match dice.roll() {
        roll if roll < rate.lost => Some(CallFault::Lost),
        roll if roll < rate.lost + rate.broken / 2 => {
            Some(CallFault::Garbled(CallFailure::Unanswered { what: closed() }))
        }
        roll if roll < rate.lost + rate.broken => Some(CallFault::Refused(answered(502, None))),
        _ => None,
    }));
    let mut dice = Dice(seed ^ 0x5eed);
    let mint = move |_: &str| (dice.roll() < rate.broken).then(|| MintFailure::Unanswered { what: closed() });
    world.outside().mint_fault = Some(Box::new(mint));
}

/// So many subscriptions, all in place, with tokens of this life.
async fn in_place(
    life: Duration,
    subscriptions: usize,
    sources: usize,
    overlap: Duration,
) -> (World, Running) {
    let settings = Settings { token_life: life, requests_per_minute: 6_000, overlap, ..Settings::default() };
    let world = World::new(settings);
    world.populate(subscriptions, sources);
    let engine = world.start();
    world.pass(5 * SECOND).await;
    assert_eq!(world.outside().remotes.len(), subscriptions);
    (world, engine)
}

fn late(world: &World) -> usize {
    let wall = world.wall();
    let outside = world.outside();
    outside.late.len() + outside.dead(wall).len()
}

/// More of them on request, such as `1000` or `17..18`: each takes a while.
pub(super) fn seeds(otherwise: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("HOOKKEEPER_TEST_SEEDS").unwrap_or_default();
    let (from, to) = asked.split_once("..").unwrap_or(("0", &asked));
    from.parse().unwrap()..to.parse().unwrap_or(otherwise)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_late_while_one_call_in_three_arrives() {
    for (subscriptions, sources) in [(1, 1), (6, 1), (60, 20)] {
        for life in [20 * SECOND, MINUTE, 5 * MINUTE, HOUR] {
            for (broken, lost) in [(30, 0), (120, 30), (300, 0), (300, 30), (600, 0), (650, 0)] {
                for seed in seeds(1) {
                    let rate = Rate { broken, lost };
                    let (world, engine) = in_place(life, subscriptions, sources, Duration::ZERO).await;
                    fail_at(&world, rate, seed);
                    world.pass(life * 15).await;
                    engine.assert_alive();
                    let case = format!("{subscriptions} with tokens of {life:?}, {rate:?}, seed {seed}");
                    assert_eq!(late(&world), 0, "late: {case}");
                    assert_eq!(world.outside().doubled(), 0, "{case}");
                    let calls = asked(&world, "update");
                    let arrived = usize::try_from(world.outside().updates).unwrap();
                    assert!(calls < arrived * 4, "{calls} calls, of which {arrived} arrived: {case}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_nobody_late_who_has_more_life_left_than_it_lasts() {
    // Such tokens are due at half their life and later.
    for (life, outages) in [
        (20 * SECOND, &[SECOND / 2, 2 * SECOND, 5 * SECOND, 8 * SECOND][..]),
        (MINUTE, &[SECOND / 2, 5 * SECOND, 10 * SECOND, 20 * SECOND][..]),
        (HOUR, &[SECOND / 2, 10 * SECOND, 20 * SECOND, 10 * MINUTE][..]),
    ] {
        for outage in outages {
            for (subscriptions, sources) in [(1, 1), (6, 1), (100, 20)] {
                let (world, engine) = in_place(life, subscriptions, sources, HOUR).await;
                pass_until_due(&world, SECOND / 2).await;
                let away = Box::new(|_: &'static str, _: &str| Some(CallFault::Refused(answered(503, None))));
                world.outside().fault_for = Some(away);
                world.pass(*outage).await;
                world.outside().fault_for = None;
                world.pass(life * 2).await;
                engine.assert_alive();
                assert_eq!(late(&world), 0, "{subscriptions} with tokens of {life:?}, away for {outage:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_away_is_called_less_than_once_a_second() {
    for life in [20 * SECOND, 5 * MINUTE, HOUR] {
        for (subscriptions, sources) in [(1, 1), (2, 1), (6, 1), (200, 50)] {
            let (world, engine) = in_place(life, subscriptions, sources, Duration::ZERO).await;
            pass_until_due(&world, SECOND).await;
            let before = asked(&world, "update");
            world.outside().fault_for = Some(Box::new(|_, _| Some(CallFault::Refused(answered(503, None)))));
            world.pass(2 * MINUTE).await;
            engine.assert_alive();
            let calls = asked(&world, "update") - before;
            assert!(calls < 120, "{calls} calls in 2 minutes, {subscriptions} with tokens of {life:?}");
        }
    }
}

/// Those who wait when nothing arrives set the length of the pause; whoever comes later and has less
/// time does not wait that long.
#[tokio::test(start_paused = true)]
async fn a_short_token_does_not_wait_out_the_pause_of_long_ones() {
    let (world, engine) = in_place(24 * HOUR, 6, 1, Duration::ZERO).await;
    world.outside().token_life = MINUTE;
    world.declare_source("short");
    hand_over_source(&world, &engine, "short").await;
    declare(&world, &engine, "short", subscription(9, "short")).await;
    world.pass(MINUTE).await;
    let rotated = world.status("short").last_rotated_time;
    while world.status("short").last_rotated_time == rotated {
        world.pass(SECOND / 2).await;
    }
    // It is due in 40 s, and has 20 s then. The others have hours, and their pauses are 30 s by then.
    world.outside().fault_for = Some(Box::new(|_, _| Some(CallFault::Refused(answered(503, None)))));
    for number in 0..6 {
        let elsewhere =
            |spec: &mut WebhookSubscriptionSpec| spec.postback_url = "https://new.example.com/".into();
        edit(&world, &engine, &format!("subscription-{number}"), elsewhere).await;
    }
    world.pass(45 * SECOND).await;
    world.outside().fault_for = None;
    world.pass(2 * MINUTE).await;
    engine.assert_alive();
    assert_eq!(late(&world), 0);
    assert!(world.outside().remotes.values().filter(|remote| remote.url.contains("new")).count() == 6);
}

#[tokio::test(start_paused = true)]
async fn a_503_with_retry_after_is_obeyed_as_far_as_the_token_permits_one_last_attempt() {
    let (world, engine) = in_place(HOUR, 1, 1, Duration::ZERO).await;
    pass_until_due(&world, SECOND).await;
    let fault = CallFault::Refused(answered(503, Some(HOUR)));
    world.outside().fault_for = Some(once("update", fault));
    world.pass(MINUTE).await;
    assert_eq!(asked(&world, "update"), 1);
    let status = world.status("subscription-0");
    assert_eq!(health(&status), (ConditionStatus::False, Reason::ProviderUnavailable));
    let message = &condition(&status, ConditionType::RotationHealthy).unwrap().message;
    assert!(message.contains("asked to be left alone (Retry-After)"), "{message}");
    world.pass(17 * MINUTE).await;
    assert_eq!(asked(&world, "update"), 1, "as long as the token permits");
    world.pass(5 * MINUTE).await;
    assert_eq!((asked(&world, "update"), world.outside().updates), (2, 1), "the last attempt");
    engine.assert_alive();
    assert_eq!(late(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn of_a_long_pause_each_token_interrupts_once() {
    for code in [429, 403, 503] {
        let (world, _engine) = in_place(5 * MINUTE, 4, 1, Duration::ZERO).await;
        pass_until_due(&world, SECOND).await;
        let fault = move |_: &'static str, _: &str| Some(CallFault::Refused(answered(code, Some(HOUR))));
        world.outside().fault_for = Some(Box::new(fault));
        world.pass(40 * MINUTE).await;
        let calls = asked(&world, "update");
        assert!((4..=8).contains(&calls), "{calls} calls after {code}: those under way, and a last one each");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_server_that_asks_for_a_long_pause_is_asked_once_more_in_time() {
    for code in [429, 403, 503] {
        let (world, engine) = in_place(HOUR, 2, 1, Duration::ZERO).await;
        let mut left = 1;
        world.outside().mint_fault = Some(Box::new(move |_| {
            let failure = MintFailure::Status {
                code,
                retry_after: Some(HOUR),
                credential_refused: false,
                oauth_error: None,
            };
            (std::mem::replace(&mut left, 0) > 0).then_some(failure)
        }));
        pass_until_due(&world, SECOND).await;
        world.pass(10 * MINUTE).await;
        assert_eq!(world.outside().updates, 0, "{code}");
        world.pass(HOUR).await;
        engine.assert_alive();
        assert_eq!(late(&world), 0, "{code}");
    }
}

/// One refusal of a credential that is taken all the same costs no token.
#[tokio::test(start_paused = true)]
async fn a_single_401_costs_no_short_token() {
    let (world, engine) = in_place(20 * SECOND, 3, 1, HOUR).await;
    pass_until_due(&world, SECOND / 2).await;
    world.outside().fault_for = Some(once("update", super::refused(401)));
    world.pass(2 * MINUTE).await;
    engine.assert_alive();
    assert_eq!(late(&world), 0);
}
