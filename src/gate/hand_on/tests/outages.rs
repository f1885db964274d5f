//! Applications that are away, and deliveries that make them fail.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::application::{Application, asks_to_wait, refused_connection, silence, status};
use super::memory::MemoryStore;
use super::world::{World, owner, receiver};
use crate::gate::hand_on::attempt::{Meaning, Sign};
use crate::gate::hand_on::scheduler::attempt;
use crate::gate::hand_on::{Exchange, Locate, Place};
use crate::gate::receiver::Destination;
use crate::http::Error;
use crate::store::{Owner, RowState, Store};

const NIGHT: u64 = 10 * 3_600;

/// So many requests as one every minute, and those until the pause has grown so long.
fn at_most_once_a_minute(seen: usize, seconds: u64) -> bool {
    u64::try_from(seen).unwrap() <= seconds / 60 + 20
}

#[tokio::test(start_paused = true)]
async fn a_night_without_the_application_parks_nothing_and_costs_nothing() {
    for reply in [refused_connection as fn() -> _, || status(503), || status(429)] {
        let application = Application::new(move |_| reply());
        let world = World::start(&application, vec![receiver("hr", "gupy")]);
        for number in 0..200_u32 {
            world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
        }
        world.pass(NIGHT).await;
        assert_eq!(world.store.count(RowState::Pending), 200);
        let attempts = application.seen().len();
        assert!(at_most_once_a_minute(attempts, NIGHT), "{attempts}");
        let writes = world.store.calls("retry");
        assert!(writes <= attempts, "{writes} writes for {attempts} attempts");
        assert!(world.told.count("Paused") <= attempts);

        application.now_answers(|_| status(200));
        world.pass(61).await;
        assert_eq!(world.store.kept().len(), 0, "all within a minute after it is back");
        assert_eq!(world.told.count("HandedOn"), 200);
        assert_eq!(world.told.count("Resumed"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_hangs_is_asked_ever_more_rarely() {
    let application = Application::new(|_| silence());
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    for number in 0..200_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.pass(NIGHT).await;
    let attempts = application.seen().len();
    assert!(at_most_once_a_minute(attempts, NIGHT), "{attempts}");
    assert_eq!((application.most(), world.store.count(RowState::Pending)), (10, 200));
    application.now_answers(|_| status(200));
    world.pass(72).await;
    assert_eq!(world.store.kept().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_delivery_alone_is_tried_after_each_pause() {
    let application = Application::new(|_| status(503));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    let id = world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(200).await;
    let seen = application.seen();
    let waits: Vec<u64> = seen.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    let row = &world.store.kept()[&id];
    assert_eq!(
        (row.refusals, row.failure.clone().unwrap().what.as_str()),
        (0, "the application answered 503")
    );
    assert!(row.attempts > 5);
}

#[tokio::test(start_paused = true)]
async fn the_application_says_when_it_is_asked_again() {
    let application = Application::new(|_| asks_to_wait(429, 120));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    for number in 0..50_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.pass(119).await;
    let first = application.seen().len();
    assert!(first <= 10, "{first}");
    world.pass(2).await;
    assert_eq!(application.seen().len(), first + 1, "one that asks");
    assert_eq!(world.store.count(RowState::Pending), 50);
}

#[tokio::test(start_paused = true)]
async fn a_dead_application_holds_no_other_one_up() {
    let application = Application::new(|seen| match &*seen.namespace {
        "dead" => silence(),
        "gone" => refused_connection(),
        _ => status(200),
    });
    let receivers =
        vec![receiver("dead", "a"), receiver("gone", "b"), receiver("hr", "c"), receiver("dead", "d")];
    let mut world = World::prepare(&application, receivers, MemoryStore::new);
    for number in 0..500_u32 {
        for (namespace, name) in [("dead", "a"), ("gone", "b"), ("dead", "d"), ("hr", "c")] {
            world.deliver_quietly(&owner(namespace, name), &number.to_string()).await;
        }
    }
    world.go_on(|_| {});
    world.pass(1).await;
    let healthy = application.seen().iter().filter(|seen| &*seen.namespace == "hr").count();
    assert_eq!(healthy, 500);
}

/// It is never answered, whatever else is: by a time-out, by a lost connection, by 503.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_makes_the_application_fail_holds_no_other_one_up() {
    let lost = || (Duration::from_millis(1), Err(Error::Lost { host: "billing:8080".to_owned() }));
    for poison in [silence as fn() -> _, lost, || status(503)] {
        let application =
            Application::new(move |seen| if seen.text() == "poison" { poison() } else { status(200) });
        let world = World::start(&application, vec![receiver("hr", "gupy")]);
        let id = world.deliver(&owner("hr", "gupy"), "poison").await;
        let mut late = 0;
        for number in 0..600_u32 {
            let before = application.seen().len();
            world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
            world.pass(1).await;
            let came = application.seen()[before..].iter().any(|seen| seen.text() == number.to_string());
            late += u32::from(!came);
        }
        assert_eq!(application.bodies().iter().filter(|body| *body != "poison").count(), 600);
        assert!(late <= 12, "{late} of 600 waited for longer than a second");
        let row = &world.store.kept()[&id];
        assert_eq!((row.state, row.refusals), (RowState::Pending, 0), "it does not count");
        assert!(row.attempts >= 5);
        world.pass(73 * 3_600).await;
        assert_eq!(world.store.count(RowState::Parked), 1, "but it does not stay without end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_behind_one_that_fails_alone_is_tried_soon() {
    let application = Application::new(|seen| if seen.text() == "poison" { silence() } else { status(200) });
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.deliver(&owner("hr", "gupy"), "poison").await;
    // The pauses have become long by now.
    world.pass(600).await;
    for number in 0..3_u32 {
        let before = application.seen().len();
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
        world.pass(12).await;
        assert!(application.seen()[before..].iter().any(|seen| seen.text() == number.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_too_long_for_a_dead_application_is_parked_without_more_attempts() {
    let application = Application::new(|_| refused_connection());
    let mut short = receiver("hr", "gupy");
    short.retention = Duration::from_secs(600);
    let world = World::start(&application, vec![short]);
    for number in 0..200_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.pass(590).await;
    assert_eq!(world.store.count(RowState::Pending), 200);
    world.deliver(&owner("hr", "gupy"), "young").await;
    world.pass(75).await;
    assert_eq!((world.store.count(RowState::Parked), world.store.count(RowState::Pending)), (200, 1));
    assert!(at_most_once_a_minute(application.seen().len(), 665), "{}", application.seen().len());
    assert_eq!(world.told.count("Parked: it could not be handed on within its retention of 10m"), 200);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_not_allowed_makes_the_receiver_pause_and_names_the_line() {
    let refusal = || Error::DestinationNotAllowed {
        host: "billing:8080".to_owned(),
        problem: "plain http goes only where an exception allows it".to_owned(),
        allow: "--allow-destination http://billing:8080".to_owned(),
    };
    let application = Application::new(move |_| (Duration::ZERO, Err(refusal())));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    let id = world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(NIGHT).await;
    assert!(at_most_once_a_minute(application.seen().len(), NIGHT));
    let row = &world.store.kept()[&id];
    assert_eq!((row.state, row.refusals), (RowState::Pending, 0));
    let why = row.failure.clone().unwrap().what;
    assert!(why.contains("--allow-destination http://billing:8080"), "{why}");
    assert!(world.told.count("Paused for 1s: billing:8080 is not allowed as a destination") == 1);
}

struct Nowhere;

impl Locate for Nowhere {
    fn locate<'a>(&'a self, _: &'a Owner, _: &'a Destination) -> BoxFuture<'a, Result<Place, String>> {
        Box::pin(async { Err("the Service billing has no clusterIP".to_owned()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_found_is_nobodys_refusal() {
    let application = Application::new(|_| status(200));
    let world = World::prepare(&application, Vec::new(), MemoryStore::new);
    let receiver = receiver("hr", "gupy");
    world.deliver_quietly(&receiver.owner, "a").await;
    let lease = Duration::from_secs(60);
    let taken = world.store.take(&receiver.owner.uid, 1, world.now(), lease);
    let taken = taken.await.unwrap().remove(0);
    let exchange: Arc<dyn Exchange> = Arc::new(Arc::clone(&application));
    let meaning = attempt(&*exchange, &Nowhere, &receiver, taken).await;
    let Meaning::Away { what, sign: Sign::Unreached } = meaning else {
        panic!("{meaning:?}");
    };
    assert_eq!(what, "the Service billing has no clusterIP");
    assert!(application.seen().is_empty());
}
