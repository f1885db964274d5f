//! What is handed on, how often and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::application::{Application, asks_to_wait, refused_connection, silence, status, status_after};
use super::memory::MemoryStore;
use super::world::{World, and_refused, owner, receiver};
use crate::gate::hand_on::{Gone, Options};
use crate::gate::receiver::{Destination, Receiver};
use crate::store::{Owner, RowState, Standstill, Store, StoreError};

fn no_space() -> StoreError {
    StoreError::Full("no space left".to_owned())
}

fn with(change: impl FnOnce(&mut Receiver)) -> Receiver {
    let mut receiver = receiver("hr", "gupy");
    change(&mut receiver);
    receiver
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_handed_on_once_with_what_the_application_needs() {
    let application = Application::new(|_| status(204));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    let id = world.deliver(&owner("hr", "gupy"), "{\"a\": 1}").await;
    world.pass(3_600).await;
    let seen = application.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].url.as_str(), seen[0].text()), ("http://billing:8080/gupy", "{\"a\": 1}"));
    assert_eq!(&*seen[0].namespace, "hr");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("hookkeeper-delivery"), Some(id.to_string().as_str()));
    assert_eq!(seen[0].header("hookkeeper-attempt"), Some("1"));
    assert_eq!(seen[0].header("hookkeeper-receiver"), Some("hr/gupy"));
    assert_eq!(seen[0].header("hookkeeper-event-time"), Some("2026-11-27"));
    assert_eq!(seen[0].header("hookkeeper-duplicate-of"), None);
    assert!(world.store.kept().is_empty());
    assert_eq!(world.told.all(), ["HandedOn after 1, false"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_the_start_is_handed_on_in_its_order() {
    let application = Application::new(|_| status(200));
    let one_at_a_time = with(|receiver| receiver.forward.max_concurrent = 1);
    let mut world = World::prepare(&application, vec![one_at_a_time], MemoryStore::new);
    for number in 0..100 {
        world.deliver_quietly(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.go_on(|_| {});
    world.pass(1).await;
    let expected: Vec<String> = (0..100).map(|number: u32| number.to_string()).collect();
    assert_eq!(application.bodies(), expected);
    assert_eq!(application.most(), 1);
}

/// Another process has stored something, and nobody here says so.
#[tokio::test(start_paused = true)]
async fn what_nobody_tells_of_is_found() {
    let application = Application::new(|_| status(200));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.pass(100).await;
    world.deliver_quietly(&owner("hr", "gupy"), "quiet").await;
    world.pass(Options::default().look_every.as_secs()).await;
    assert_eq!(application.bodies(), ["quiet"]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_one_is_marked() {
    let application = Application::new(|_| status(200));
    let mut world = World::prepare(&application, vec![receiver("hr", "gupy")], MemoryStore::new);
    let first = world.deliver_quietly(&owner("hr", "gupy"), "first").await;
    let second = world.deliver_quietly(&owner("hr", "gupy"), "second").await;
    world.store.mark(second, first);
    world.go_on(|_| {});
    world.pass(1).await;
    let seen = application.seen();
    let second = seen.iter().find(|seen| seen.text() == "second").unwrap();
    assert_eq!(second.header("hookkeeper-duplicate-of"), Some(first.to_string().as_str()));
    assert_eq!(world.told.count("HandedOn after 1, true"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_one_is_tried_ever_later_and_parked_in_the_end() {
    let application = Application::new(|seen| status(if seen.text() == "bad" { 500 } else { 200 }));
    let world = World::start(&application, vec![with(|receiver| receiver.forward.max_attempts = 5)]);
    let bad = world.deliver(&owner("hr", "gupy"), "bad").await;
    for number in 0..20_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
        world.pass(1).await;
    }
    assert_eq!(application.bodies().iter().filter(|body| *body != "bad").count(), 20);
    world.pass(3_600).await;
    let tries: Vec<_> = application.seen().into_iter().filter(|seen| seen.text() == "bad").collect();
    let attempts: Vec<_> = tries.iter().map(|seen| seen.header("hookkeeper-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4", "5"]);
    assert!(tries.iter().all(|seen| seen.header("hookkeeper-delivery") == Some(bad.to_string().as_str())));
    for (pair, expected) in tries.windows(2).zip([5.0, 10.0, 20.0, 40.0]) {
        let waited = (pair[1].at - pair[0].at).as_secs_f64();
        assert!(waited >= expected * 0.9 && waited <= expected * 1.1 + 0.1, "{waited}");
    }
    let row = &world.store.kept()[&bad];
    assert_eq!(row.state, RowState::Parked);
    let failure = row.failure.clone().unwrap();
    assert_eq!(failure.what, "it was refused 5 times: the application answered 500");
    assert_eq!(world.told.count("Parked: it was refused 5 times"), 1);
    assert_eq!(world.told.count("Paused"), 0, "an answer is no reason to pause");

    // A person has it tried again.
    application.now_answers(|_| status(200));
    assert!(world.store.replay(bad, world.now()).await.unwrap());
    world.nudge.stored(&owner("hr", "gupy").uid);
    world.pass(1).await;
    assert!(world.store.kept().is_empty());
    assert_eq!(application.seen().last().unwrap().header("hookkeeper-attempt"), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_may_ask_for_more_time() {
    let application = Application::new(|_| asks_to_wait(500, 300));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(299).await;
    assert_eq!(application.seen().len(), 1);
    world.pass(2).await;
    assert_eq!(application.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_the_application_takes() {
    let slow = |_: &_| status_after(200, Duration::from_secs(1), None);
    let application = Application::new(slow);
    let world = World::start(&application, vec![with(|receiver| receiver.forward.max_concurrent = 7)]);
    for number in 0..70_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.pass(11).await;
    assert_eq!((application.most(), application.seen().len()), (7, 70));
}

#[tokio::test(start_paused = true)]
async fn one_namespace_leaves_as_many_places_as_it_has() {
    // Whoever is in `hog` never answers in time.
    let application =
        Application::new(|seen| if &*seen.namespace == "hog" { silence() } else { status(200) });
    let mut hogs: Vec<Receiver> = (0..20).map(|number| receiver("hog", &number.to_string())).collect();
    for hog in &mut hogs {
        hog.forward.max_concurrent = 500;
    }
    let owners: Vec<Owner> = hogs.iter().map(|hog| hog.owner.clone()).collect();
    hogs.push(receiver("hr", "gupy"));
    let mut world = World::prepare(&application, hogs, MemoryStore::new);
    for owner in &owners {
        for _ in 0..100 {
            world.deliver_quietly(owner, "hog").await;
        }
    }
    world.go_on(|options| options.most = 100);
    world.pass(5).await;
    assert_eq!(application.most(), 50);
    for number in 0..50_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
        world.pass(0).await;
    }
    world.pass(1).await;
    assert_eq!(application.seen().iter().filter(|seen| &*seen.namespace == "hr").count(), 50);
}

#[tokio::test(start_paused = true)]
async fn under_suspend_nothing_is_handed_on_and_no_time_counts() {
    let application = Application::new(|_| status(500));
    let suspended = |suspended| {
        with(|receiver| {
            receiver.suspended = suspended;
            receiver.retention = Duration::from_secs(60);
        })
    };
    let world = World::start(&application, vec![suspended(true)]);
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(3_600).await;
    assert_eq!(application.seen().len(), 0);
    world.declare(vec![suspended(false)]);
    world.pass(50).await;
    assert!(application.seen().len() > 2);
    assert_eq!(world.store.count(RowState::Pending), 1, "it has 60 s from now on");
    world.declare(vec![suspended(true)]);
    world.pass(3_600).await;
    world.declare(vec![suspended(false)]);
    world.pass(1).await;
    assert_eq!(world.store.count(RowState::Pending), 1);
    world.pass(20).await;
    assert_eq!(world.store.count(RowState::Parked), 1);
    let rows = world.store.kept();
    let failure = rows.values().next().unwrap().failure.clone().unwrap();
    assert_eq!(
        failure.what,
        "it could not be handed on within its retention of 1m: the application answered 500"
    );
}

/// The store takes down late that the application has taken the first copy.
#[tokio::test(start_paused = true)]
async fn a_copy_is_marked_although_the_store_does_not_know_yet_that_the_first_one_was_taken() {
    for (window, is_marked) in [(600, true), (0, false)] {
        let application = Application::new(|_| status(200));
        let known = with(|receiver| receiver.duplicates.window = Duration::from_secs(window));
        let world = World::start(&application, vec![known]);
        world.pass(1).await;
        world.store.is_slow(Some("done"));
        let to = owner("hr", "gupy");
        let first = world.deliver_of_event(&to, "a", Some(1)).await;
        world.nudge.stored(&to.uid);
        world.pass(1).await;
        for (body, event) in [("a", Some(1)), ("b", Some(2))] {
            world.deliver_of_event(&to, body, event).await;
            world.nudge.stored(&to.uid);
        }
        world.pass(1).await;
        let told: Vec<_> = application
            .seen()
            .iter()
            .map(|seen| (seen.text().to_owned(), seen.header("hookkeeper-duplicate-of").map(str::to_owned)))
            .collect();
        let mark = is_marked.then(|| first.to_string());
        let expected = [("a", None), ("a", mark), ("b", None)];
        assert_eq!(told, expected.map(|(body, mark)| (body.to_owned(), mark)));
        // As soon as it is written down, the store says it.
        world.store.is_slow(None);
        world.pass(1).await;
        world.deliver_of_event(&to, "c", Some(1)).await;
        world.nudge.stored(&to.uid);
        world.pass(1).await;
        assert_eq!(application.seen().last().unwrap().header("hookkeeper-duplicate-of"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_standstill_that_was_over_before_a_restart_still_counts() {
    let application = Application::new(|_| refused_connection());
    let mut stands = with(|receiver| receiver.suspended = true);
    let mut world = World::start(&application, vec![stands.clone()]);
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(100 * 3_600).await;
    stands.suspended = false;
    world.declare(vec![stands]);
    world.pass(3_600).await;
    world.stop().await.unwrap();
    world.go_on(|_| {});
    world.pass(70 * 3_600).await;
    assert_eq!(world.store.count(RowState::Pending), 1, "one hour is left");
    world.pass(2 * 3_600).await;
    assert_eq!(world.store.count(RowState::Parked), 1);
    assert_eq!(world.store.calls("set_standstills"), 2, "when it began and when it ended, and never else");
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_over_a_restart_ends_when_it_is_seen_to_be_over() {
    let application = Application::new(|_| refused_connection());
    let mut stands = receiver("hr", "gupy");
    let mut world = World::start(&application, vec![stands.clone()]);
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(3_600).await;
    stands.suspended = true;
    world.declare(vec![stands.clone()]);
    world.pass(3_600).await;
    world.stop().await.unwrap();
    world.pass(100 * 3_600).await;
    stands.suspended = false;
    world.declare(vec![stands]);
    world.go_on(|_| {});
    world.pass(70 * 3_600).await;
    assert_eq!(world.store.count(RowState::Pending), 1);
    world.pass(2 * 3_600).await;
    assert_eq!(world.store.count(RowState::Parked), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_judged_before_it_is_known_how_long_it_stood_still() {
    let application = Application::new(|_| status(200));
    let mut world = World::prepare(&application, vec![receiver("hr", "gupy")], MemoryStore::new);
    world.store.fail("standstills", Some(StoreError::Unavailable("busy".to_owned())));
    world.go_on(|_| {});
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(600).await;
    assert_eq!(application.seen().len(), 0);
    world.store.fail("standstills", None);
    world.pass(10).await;
    assert_eq!(application.bodies(), ["a"]);
    assert_eq!(world.store.calls("standstills"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_standstill_that_the_store_does_not_take_is_told_it_again() {
    let application = Application::new(|_| status(200));
    let mut stands = receiver("hr", "gupy");
    let world = World::start(&application, vec![stands.clone()]);
    world.pass(1).await;
    world.store.fail("set_standstills", Some(StoreError::Full("no space".to_owned())));
    stands.suspended = true;
    world.declare(vec![stands.clone()]);
    world.pass(60).await;
    stands.suspended = false;
    world.declare(vec![stands]);
    world.pass(60).await;
    world.store.fail("set_standstills", None);
    world.pass(10).await;
    let kept = world.store.standstills("hr-gupy").await.unwrap();
    let length = |standstill: &Standstill| (standstill.ended.unwrap() - standstill.began).num_seconds();
    assert_eq!(kept.iter().map(length).collect::<Vec<_>>(), [60]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_suspend_lets_no_time_count() {
    let application = Application::new(|_| refused_connection());
    let mut suspended = with(|receiver| receiver.suspended = true);
    let mut world = World::start(&application, vec![suspended.clone()]);
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(100 * 3_600).await;
    world.stop().await.unwrap();
    world.go_on(|_| {});
    world.pass(100 * 3_600).await;
    suspended.suspended = false;
    world.declare(vec![suspended]);
    world.pass(71 * 3_600).await;
    assert_eq!(world.store.count(RowState::Pending), 1);
    world.pass(2 * 3_600).await;
    assert_eq!(world.store.count(RowState::Parked), 1);
}

/// Whatever happened before, such as a time in which no process ran.
#[tokio::test(start_paused = true)]
async fn the_oldest_of_all_gets_an_attempt_before_it_is_parked() {
    let application = Application::new(|_| status(200));
    let mut world = World::prepare(&application, vec![receiver("hr", "gupy")], MemoryStore::new);
    world.deliver_quietly(&owner("hr", "gupy"), "old").await;
    world.pass(100 * 3_600).await;
    world.go_on(|_| {});
    world.pass(1).await;
    assert_eq!(application.bodies(), ["old"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_one_who_is_gone_is_nobody_elses() {
    let application = Application::new(|_| status(200));
    let mut old = with(|receiver| receiver.suspended = true);
    old.owner.uid = "old".into();
    let world = World::start_with(
        &application,
        vec![old.clone()],
        |options| options.gone = Gone::Park,
        MemoryStore::new,
    );
    for _ in 0..3 {
        world.deliver(&old.owner, "secret").await;
    }
    let mut new = receiver("hr", "gupy");
    new.owner.uid = "new".into();
    world.declare(vec![new.clone()]);
    world.deliver(&new.owner, "own").await;
    world.pass(1).await;
    assert_eq!(application.bodies(), ["own"]);
    assert_eq!(world.store.count(RowState::Parked), 3);
    assert_eq!(world.told.count("ParkedAll: 3: the receiver gupy is gone"), 1);
    assert_eq!(world.store.standstills("old").await, Ok(vec![]), "nobody needs them any more");
    // One that was being taken in while its receiver went.
    world.deliver_quietly(&old.owner, "late").await;
    world.pass(61).await;
    assert_eq!(world.store.count(RowState::Parked), 4);
}

/// A prefix of paths is no longer allowed, or a rule is stricter: that is corrected, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn what_waits_for_one_who_is_refused_goes_on_waiting() {
    let application = Application::new(|_| status(200));
    let one = with(|receiver| receiver.suspended = true);
    let world = World::start_with(
        &application,
        vec![one.clone()],
        |options| options.gone = Gone::Park,
        MemoryStore::new,
    );
    world.deliver(&one.owner, "a").await;
    world.receivers.send_replace(and_refused(vec![], &[&one.owner.uid]));
    world.pass(3_600).await;
    assert_eq!((world.store.count(RowState::Parked), application.seen().len()), (0, 0));
    world.declare(vec![Receiver { suspended: false, ..one }]);
    world.pass(1).await;
    assert_eq!(application.bodies(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn where_not_all_receivers_are_known_only_what_was_seen_to_go_is_parked() {
    let application = Application::new(|_| status(200));
    let known = Arc::new(AtomicBool::new(false));
    let knows = Arc::clone(&known);
    let mut old = with(|receiver| receiver.suspended = true);
    old.owner.uid = "old".into();
    let world = World::start_with(
        &application,
        vec![old.clone()],
        |options| {
            options.gone = Gone::Park;
            options.knows_all_of = Arc::new(move |_| knows.load(Ordering::Relaxed));
        },
        MemoryStore::new,
    );
    let mut unlisted = receiver("hr", "elsewhere");
    unlisted.owner.uid = "unlisted".into();
    world.deliver_quietly(&unlisted.owner, "its namespace is not listed yet").await;
    world.deliver(&old.owner, "deleted").await;
    world.declare(vec![]);
    world.pass(120).await;
    assert_eq!(world.store.count(RowState::Parked), 1);
    assert_eq!(world.told.count("ParkedAll: 1: the receiver gupy is gone"), 1);
    known.store(true, Ordering::Relaxed);
    world.pass(61).await;
    assert_eq!(world.store.count(RowState::Parked), 2);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_whose_file_is_missing_waits_for_it() {
    let application = Application::new(|_| status(200));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.pass(1).await;
    world.declare(Vec::new());
    world.pass(1).await;
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(100 * 3_600).await;
    assert_eq!((application.seen().len(), world.store.count(RowState::Pending)), (0, 1));
    world.declare(vec![receiver("hr", "gupy")]);
    world.pass(1).await;
    assert_eq!(application.bodies(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_not_sent_again_because_a_disk_was_full() {
    let application = Application::new(|_| status(200));
    let world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.store.fail("done", Some(no_space()));
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(600).await;
    assert_eq!(application.seen().len(), 1);
    assert_eq!(world.told.count("NotRecorded: the disk of the store is full"), 1);
    world.store.fail("done", None);
    world.pass(10).await;
    assert!(world.store.kept().is_empty());
    assert_eq!(application.seen().len(), 1);
    world.deliver(&owner("hr", "gupy"), "b").await;
    world.pass(1).await;
    assert_eq!(application.bodies(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_over_sends_nothing_twice() {
    let application = Application::new(|_| status_after(200, Duration::from_secs(8), None));
    let store = |clock| MemoryStore::with_lease(clock, Duration::from_secs(2));
    let world = World::start_with(&application, vec![receiver("hr", "gupy")], |_| {}, store);
    world.deliver(&owner("hr", "gupy"), "a").await;
    for _ in 0..7 {
        world.pass(1).await;
        world.nudge.stored(&owner("hr", "gupy").uid);
    }
    world.pass(60).await;
    assert_eq!(application.seen().len(), 1);
    assert!(world.store.kept().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_while_is_asked_again_and_a_broken_one_ends_it() {
    let application = Application::new(|_| status(200));
    let mut world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.store.fail("take", Some(StoreError::Unavailable("no answer".to_owned())));
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(100).await;
    world.store.fail("take", None);
    world.pass(6).await;
    assert_eq!(application.bodies(), ["a"]);
    world.store.fail("done", Some(StoreError::Broken("fsync failed".to_owned())));
    world.deliver(&owner("hr", "gupy"), "b").await;
    assert!(matches!(world.ended().await, Err(StoreError::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_attempts_under_way_end_and_the_rest_is_given_back() {
    let application = Application::new(|_| status_after(200, Duration::from_secs(5), None));
    let mut world = World::start(&application, vec![with(|receiver| receiver.forward.max_concurrent = 2)]);
    for number in 0..5_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.pass(1).await;
    world.stop().await.unwrap();
    assert_eq!(application.seen().len(), 2, "nothing was begun after");
    assert_eq!((world.store.kept().len(), world.store.claimed()), (3, 0));
    // And another process goes on.
    world.go_on(|_| {});
    world.pass(60).await;
    assert_eq!(application.seen().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_store_that_takes_nothing() {
    let application = Application::new(|_| status(200));
    let mut world = World::start(&application, vec![receiver("hr", "gupy")]);
    world.store.fail("done", Some(no_space()));
    world.deliver(&owner("hr", "gupy"), "a").await;
    world.pass(100).await;
    world.stop().await.unwrap();
    assert_eq!(world.store.kept().len(), 1, "handed on once more after the restart, under the same id");
}

#[tokio::test(start_paused = true)]
async fn a_panic_stays_with_its_delivery() {
    let application = Application::new(|seen| {
        assert_ne!(seen.text(), "bad", "the test's own panic");
        status(200)
    });
    let world = World::start(&application, vec![with(|receiver| receiver.forward.max_attempts = 2)]);
    let bad = world.deliver(&owner("hr", "gupy"), "bad").await;
    world.deliver(&owner("hr", "gupy"), "good").await;
    world.pass(60).await;
    let rows = world.store.kept();
    assert_eq!(rows.keys().collect::<Vec<_>>(), [&bad]);
    assert_eq!(rows[&bad].state, RowState::Parked);
    assert!(rows[&bad].failure.as_ref().unwrap().what.contains("a defect"));
}

#[tokio::test(start_paused = true)]
async fn a_new_destination_is_tried_at_once() {
    let application = Application::new(|seen| if seen.url.contains("old") { silence() } else { status(200) });
    let to = |path: &str| {
        with(|receiver| {
            receiver.forward.to =
                Destination::Service { name: "billing".into(), port: 8080, path: path.into() };
        })
    };
    let world = World::start(&application, vec![to("/old")]);
    for number in 0..20_u32 {
        world.deliver(&owner("hr", "gupy"), &number.to_string()).await;
    }
    world.pass(600).await;
    world.declare(vec![to("/new")]);
    world.pass(1).await;
    let new = application.seen().iter().filter(|seen| seen.url.ends_with("/new")).count();
    assert!(new >= 10, "{new}: all but those that were tried last");
    world.pass(75).await;
    assert!(world.store.kept().is_empty());
}
