//! Listings of many pages: each takes its place in the budgets, and one that fails is asked for again.

use std::time::Duration;

use chrono::TimeDelta;
use hookkeeper::api::{ConditionStatus, Limits, LocalReference, Reason, WebhookProviderSpec};

use super::{DAY, HOUR, MINUTE, SECOND, answered, by_hand, counts, declare, edit, ready, refused};
use crate::world::{CallFault, Settings, World, subscription};

/// So many pages of one webhook each that somebody made by hand.
fn of_pages(pages: usize, settings: Settings) -> World {
    let world = World::new(Settings { page_size: Some(1), token_life: DAY, ..settings });
    for number in 0..pages {
        by_hand(&world, &format!("by-hand-{number:03}"), 1_000 + number);
    }
    world
}

fn twenty_a_minute() -> Settings {
    Settings { requests_per_minute: 20, ..Settings::default() }
}

/// The pages that were asked for, in order.
fn pages(world: &World) -> Vec<u32> {
    let outside = world.outside();
    let lists = outside.received.iter().filter(|received| received.operation == "list");
    lists.map(|received| received.about.parse().unwrap()).collect()
}

/// The most requests of these operations that arrived within a minute.
fn most_in_a_minute(world: &World, operations: &[&str]) -> usize {
    let outside = world.outside();
    let of_them = outside.received.iter().filter(|received| operations.contains(&received.operation));
    let times: Vec<_> = of_them.map(|received| received.at).collect();
    let within = |from| times.iter().filter(|at| (from..from + TimeDelta::minutes(1)).contains(*at)).count();
    times.iter().map(|from| within(*from)).max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn every_page_takes_its_place_in_the_budget() {
    let world = of_pages(20, twenty_a_minute());
    world.populate(1, 1);
    let _engine = world.start();
    world.pass(MINUTE).await;
    assert_eq!(world.outside().creates, 0, "the listing is not complete yet");
    world.pass(2 * MINUTE).await;
    let once: Vec<u32> = (1..=20).collect();
    assert_eq!(pages(&world), [once.clone(), once].concat());
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::True, Reason::Created));
    let most = most_in_a_minute(&world, &["list", "create"]);
    assert!(most <= 22, "{most} in a minute: the rate, and the burst after a quiet time");
}

#[tokio::test(start_paused = true)]
async fn a_provider_keeps_its_own_budget_at_an_origin_that_takes_more() {
    let world = of_pages(20, Settings { requests_per_minute: 6_000, ..Settings::default() });
    world.populate(1, 1);
    let limits = Some(Limits { requests_per_minute: Some(20), ..Limits::default() });
    world.declare_provider_as("narrow", WebhookProviderSpec { limits, ..WebhookProviderSpec::default() });
    let mut spec = subscription(0, "source-0");
    spec.provider_ref = LocalReference { name: "narrow".into() };
    spec.action = Some("of.narrow".into());
    world.outside().subscriptions.clear();
    world.declare("subscription-0", spec);
    let _engine = world.start();
    world.pass(4 * MINUTE).await;
    assert_eq!(ready(&world.status("subscription-0")).1, Reason::Created);
    // The other provider object is used by nobody and lists once, by its own budget.
    let outside = world.outside();
    let create = outside.received.iter().find(|received| received.operation == "create").unwrap();
    let began = outside.received.iter().find(|received| received.operation == "list").unwrap();
    assert!(create.at - began.at > TimeDelta::seconds(100), "40 pages at 20 a minute");
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_at_the_page_that_was_refused() {
    let world = of_pages(9, Settings::default());
    world.populate(1, 1);
    let mut left = 3;
    world.outside().fault_for = Some(Box::new(move |operation, about| {
        let hits = operation == "list" && about == "7" && left > 0;
        left -= i32::from(hits);
        hits.then(|| CallFault::Refused(answered(429, Some(40 * SECOND))))
    }));
    let _engine = world.start();
    world.pass(20 * SECOND).await;
    assert_eq!(pages(&world), [1, 2, 3, 4, 5, 6, 7], "the origin is left alone as it asked");
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::False, Reason::RateLimited));
    world.pass(3 * MINUTE).await;
    let again: Vec<u32> = (1..=9).collect();
    assert_eq!(pages(&world), [vec![1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9], again].concat());
    assert_eq!(ready(&world.status("subscription-0")), (ConditionStatus::True, Reason::Created));
    assert_eq!(world.outside().creates, 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_keeps_failing_begins_the_listing_anew_after_a_while() {
    let world = of_pages(4, Settings::default());
    world.populate(1, 1);
    world.outside().fault_for =
        Some(Box::new(|operation, about| (operation == "list" && about == "3").then(|| refused(502))));
    let _engine = world.start();
    world.pass(6 * HOUR).await;
    let asked = pages(&world);
    let third = asked.iter().filter(|page| **page == 3).count();
    let first = asked.iter().filter(|page| **page == 1).count();
    assert!(first >= 2 && third >= 10 * (first - 1), "{asked:?}");
    assert!(asked.len() < 150, "{} pages in six hours", asked.len());
    world.outside().fault_for = None;
    world.pass(HOUR).await;
    assert_eq!(ready(&world.status("subscription-0")).1, Reason::Created);
    assert_eq!(world.outside().creates, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_of_a_provider_is_not_taken_for_another() {
    let world = of_pages(9, twenty_a_minute());
    world.populate(1, 1);
    let engine = world.start();
    world.pass(20 * SECOND).await;
    let before = pages(&world).len();
    assert!((3..9).contains(&before), "{before}");
    let elsewhere = Some("https://elsewhere.example.com".to_owned());
    world.declare_provider_as("provider", WebhookProviderSpec { base_url: elsewhere, ..Default::default() });
    super::hand_over_provider(&world, &engine, "provider").await;
    world.pass(10 * MINUTE).await;
    let after = pages(&world);
    assert_eq!(after[before], 1, "{after:?}");
    assert_eq!(ready(&world.status("subscription-0")).1, Reason::Created);
}

/// Calls that wait for their provider's own budget are not forgotten, nor kept waiting by a listing.
#[tokio::test(start_paused = true)]
async fn calls_go_before_most_pages_in_a_providers_own_budget() {
    let world = of_pages(30, Settings { requests_per_minute: 6_000, ..Settings::default() });
    world.populate(10, 1);
    let limits = Some(Limits { requests_per_minute: Some(20), ..Limits::default() });
    world.declare_provider_as("provider", WebhookProviderSpec { limits, ..WebhookProviderSpec::default() });
    // It makes the origin's budget a wide one.
    world.declare_provider("wide");
    let engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(world.outside().creates, 10);
    let updates = world.outside().updates;
    world.outside().received.clear();
    for number in 0..10 {
        edit(&world, &engine, &format!("subscription-{number}"), |spec| spec.active = Some(false)).await;
    }
    declare(&world, &engine, "newcomer", subscription(77, "source-0")).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.outside().updates, updates + 10, "{:#?}", world.outside().received);
    assert!(pages(&world).len() >= 4, "the listing has its share");
    world.pass(10 * MINUTE).await;
    assert_eq!(counts(&world, |outside| outside.creates), 11);
}

/// Where there is less budget than work, a listing that is waited for slows rotations down by half
/// and not for good.
#[tokio::test(start_paused = true)]
async fn rotations_go_before_most_pages() {
    let world = of_pages(30, twenty_a_minute());
    world.populate(10, 1);
    let engine = world.start();
    world.pass(HOUR).await;
    assert_eq!(world.outside().creates, 10);
    let updates = world.outside().updates;
    world.outside().received.clear();
    for number in 0..10 {
        edit(&world, &engine, &format!("subscription-{number}"), |spec| spec.active = Some(false)).await;
    }
    declare(&world, &engine, "newcomer", subscription(77, "source-0")).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.outside().updates, updates + 10, "{:#?}", world.outside().received);
    let listed = pages(&world).len();
    assert!((4..=12).contains(&listed), "the listing has its share: {listed}");
    world.pass(10 * MINUTE).await;
    assert_eq!(counts(&world, |outside| outside.creates), 11);
}
