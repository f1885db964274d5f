//! When the platform is asked, and what of its answers is handed on.

use super::*;
use crate::gate::hand_on::tests::application::silence;

#[tokio::test(start_paused = true)]
async fn the_platform_is_asked_until_it_says_the_end() {
    let world = World::start(ok);
    world.platform.has("p-1", 1);
    world.expect("p-1").await;
    world.pass(9).await;
    assert_eq!(world.platform.asked(), 0, "a delivery has 10 s");
    world.pass(2).await;
    assert_eq!(world.platform.asked(), 1);
    world.pass(31).await;
    assert_eq!(
        (world.platform.asked(), world.handed()),
        (2, vec![]),
        "1 is none of those that are handed on"
    );
    world.platform.has("p-1", 2);
    world.pass(100).await;
    assert_eq!(world.handed(), [2], "once, though it was said three times");
    world.platform.has("p-1", 3);
    world.pass(31).await;
    assert_eq!(world.handed(), [2, 3]);
    assert_eq!(world.open("p-1").await, None);
    let asked = world.platform.asked();
    world.pass(3_600).await;
    assert_eq!(world.platform.asked(), asked, "nobody is asked any more");

    let seen = world.application.seen();
    assert!(seen.iter().all(|seen| seen.header("hookkeeper-polled") == Some("true")));
    assert_eq!(seen[0].header("hookkeeper-receiver"), Some("hr/unico"));
    assert_eq!(seen[0].text(), "{\"id\":\"p-1\",\"status\":2}");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_ne!(seen[0].header("hookkeeper-delivery"), seen[1].header("hookkeeper-delivery"));
}

#[tokio::test(start_paused = true)]
async fn a_question_carries_what_it_may_and_only_where_it_may_go() {
    let world = World::start(ok);
    world.platform.has("p-1", 3);
    world.expect("p-1").await;
    world.pass(11).await;
    let Question { id, headers, bounds } = world.platform.asked.lock().unwrap()[0].clone();
    assert_eq!(id, "p-1");
    let expected = [("apikey", "api-key"), ("authorization", "Bearer token")];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected);
    assert!(bounds.check_called("api.unico.example").is_ok());
    assert!(bounds.check_called("evil.example").is_err());

    // A source that does not say where its tokens may go.
    let world = World::of(vec![waiting("unico")], ok, None);
    world.expect("p-1").await;
    world.pass(11).await;
    assert_eq!(world.platform.asked(), 0);
    assert!(
        world.facts.all().iter().any(|fact| fact.contains("spec.allowedHosts")),
        "{:?}",
        world.facts.all()
    );
}

#[tokio::test(start_paused = true)]
async fn a_delivery_ends_it_or_gives_it_more_time() {
    let world = World::start(ok);
    world.platform.has("p-1", 3);
    world.expect("p-1").await;
    world.expect("p-2").await;
    world.pass(5).await;
    world.deliver("p-1", 4);
    world.deliver("p-2", 2);
    world.pass(9).await;
    assert_eq!((world.open("p-1").await, world.platform.asked()), (None, 0));
    world.platform.has("p-2", 2);
    world.pass(2).await;
    assert_eq!(world.platform.asked(), 1, "10 s after the delivery");
    world.pass(100).await;
    assert!(world.handed().is_empty(), "it was delivered, so it is nothing new");
    world.platform.has("p-2", 5);
    world.pass(31).await;
    assert_eq!((world.handed(), world.open("p-2").await), (vec![5], None));
    // Of others nothing is kept.
    world.deliver("nobody", 2);
    world.pass(1).await;
    assert_eq!(world.open("nobody").await, None);
}

/// The answer was made before the delivery, and comes after it.
#[tokio::test(start_paused = true)]
async fn a_late_answer_never_sets_the_application_back() {
    let world = World::start(ok);
    world.platform.has("p-1", 2);
    *world.platform.slow.lock().unwrap() = Duration::from_secs(5);
    world.expect("p-1").await;
    world.pass(12).await;
    assert_eq!(world.platform.asked(), 1);
    world.deliver("p-1", 3);
    world.pass(20).await;
    assert!(world.handed().is_empty());
    assert_eq!(world.open("p-1").await, None);

    world.expect("p-2").await;
    world.platform.has("p-2", 2);
    world.pass(12).await;
    world.platform.has("p-2", 5);
    // Not a final one: the expectation goes on, and what is asked next is the newest.
    let mut receiver = waiting("unico");
    let mut longer = fallback();
    longer.until = vec!["5".to_owned()];
    receiver.fallback = Some(Arc::new(longer));
    world.receivers.send_replace(by_uid(vec![receiver]));
    world.deliver("p-2", 3);
    world.pass(60).await;
    assert_eq!(world.handed(), [5]);
    assert_eq!(world.open("p-2").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_application_did_not_take_is_asked_for_anew() {
    let world = World::start(|| status(500));
    world.platform.has("p-1", 2);
    world.expect("p-1").await;
    world.pass(50).await;
    assert_eq!(world.handed(), [2, 2]);
    let ids: Vec<_> = world.application.seen();
    let ids: Vec<_> = ids.iter().map(|seen| seen.header("hookkeeper-delivery").unwrap()).collect();
    assert_eq!(ids[0], ids[1], "the same in every attempt");
    world.platform.has("p-1", 3);
    world.application.now_answers(|_| status(200));
    world.pass(31).await;
    assert_eq!(world.handed(), [2, 2, 3], "the newest, and not what failed");
    assert_eq!(world.open("p-1").await, None);
}

#[tokio::test(start_paused = true)]
async fn while_the_application_is_away_hardly_anything_is_asked() {
    let world = World::start(silence);
    for number in 0..500 {
        world.platform.has(&number.to_string(), 3);
        world.expect(&number.to_string()).await;
    }
    world.pass(3_600).await;
    let asked = world.platform.asked();
    assert!(asked < 100, "{asked}");
    world.application.now_answers(|_| status(200));
    world.pass(180).await;
    let open = world.store.expectations_due("hr-unico", world.clock.now(), 1_000).await.unwrap();
    assert_eq!(open.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_is_none() {
    for text in
        ["", "[]", "{}", "{\"id\":\"p-1\"}", "{\"status\":3}", "{\"id\":\"other\",\"status\":3}", "\u{7f}"]
    {
        let world = World::start(ok);
        world.platform.says("p-1", text);
        world.expect("p-1").await;
        world.pass(41).await;
        assert_eq!((world.platform.asked(), world.handed()), (2, vec![]), "{text:?}");
        assert!(world.open("p-1").await.is_some(), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_has_enough_is_left_alone() {
    let world = World::start(ok);
    let busy = Answer { retry_after: Some(Duration::from_secs(300)), ..page(429, "") };
    *world.platform.status.lock().unwrap() = Some(busy);
    for number in 0..100 {
        world.expect(&number.to_string()).await;
    }
    world.pass(200).await;
    let asked = world.platform.asked();
    assert!(asked <= 20, "{asked}: those that were under way");
    *world.platform.status.lock().unwrap() = None;
    for number in 0..100 {
        world.platform.has(&number.to_string(), 3);
    }
    world.pass(400).await;
    assert_eq!(world.handed().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn questions_take_their_place_in_a_budget() {
    let world = World::start(ok);
    for number in 0..1_000 {
        world.platform.has(&number.to_string(), 3);
        world.expect(&number.to_string()).await;
    }
    world.pass(70).await;
    let asked = world.platform.asked();
    assert!((550..=630).contains(&asked), "{asked} in a minute");
    world.pass(60).await;
    assert_eq!(world.handed().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn after_a_day_it_is_given_up() {
    let world = World::start(ok);
    world.platform.has("p-1", 1);
    world.expect("p-1").await;
    world.pass(86_500).await;
    assert!(world.open("p-1").await.unwrap().parked);
    assert_eq!(world.facts.count("GivenUp"), 1);
    let asked = world.platform.asked();
    world.pass(3_600).await;
    assert_eq!(world.platform.asked(), asked);
    // The application may ask for it once more.
    world.platform.has("p-1", 3);
    world.expect("p-1").await;
    world.pass(11).await;
    assert_eq!(world.handed(), [3]);
}

#[tokio::test(start_paused = true)]
async fn under_suspend_nobody_is_asked() {
    let world = World::start(ok);
    world.platform.has("p-1", 3);
    let mut suspended = waiting("unico");
    suspended.suspended = true;
    world.receivers.send_replace(by_uid(vec![suspended]));
    world.expect("p-1").await;
    world.pass(100).await;
    assert_eq!(world.platform.asked(), 0);
    world.receivers.send_replace(by_uid(vec![waiting("unico")]));
    world.pass(1).await;
    assert_eq!(world.handed(), [3]);
}

#[tokio::test(start_paused = true)]
async fn what_is_expected_survives_a_restart_and_a_store_that_is_full() {
    let mut world = World::start(ok);
    world.platform.has("p-1", 2);
    world.expect("p-1").await;
    world.store.fail("expectation_changed", Some(StoreError::Full("no space left".to_owned())));
    world.pass(20).await;
    assert_eq!(world.handed(), [2]);
    world.pass(120).await;
    assert_eq!(world.handed(), [2], "not again because it could not be noted");
    world.store.fail("expectation_changed", None);
    world.pass(10).await;
    drop(world.stop.take());
    world.running.take().unwrap().await.unwrap().unwrap();
    assert!(world.open("p-1").await.unwrap().handed_on.is_some());
}

/// Statuses that `handOn` leaves out are said by deliveries all the same.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_not_handed_on_ends_it_too() {
    let mut receiver = waiting("unico");
    receiver.fallback = Some(Arc::new(Fallback { until: vec!["9".to_owned()], ..fallback() }));
    let world = World::of(vec![receiver], ok, Some(vec!["api.unico.example".to_owned()]));
    world.platform.has("p-1", 1);
    world.expect("p-1").await;
    world.pass(5).await;
    world.deliver("p-1", 1);
    world.pass(9).await;
    assert_eq!(world.platform.asked(), 0, "10 s after the delivery");
    world.pass(2).await;
    assert_eq!(world.platform.asked(), 1);
    assert_eq!(world.open("p-1").await.unwrap().handed_on, None, "the application has nothing yet");
    world.deliver("p-1", 9);
    world.pass(1).await;
    assert_eq!((world.open("p-1").await, world.handed()), (None, vec![]));
}

/// Two deliveries come while the platform is asked, the later one first.
#[tokio::test(start_paused = true)]
async fn an_end_that_came_meanwhile_is_not_forgotten_for_what_came_after_it() {
    let world = World::start(ok);
    world.platform.has("p-1", 2);
    *world.platform.slow.lock().unwrap() = Duration::from_secs(5);
    world.expect("p-1").await;
    world.pass(11).await;
    world.deliver("p-1", 3);
    world.deliver("p-1", 2);
    world.pass(5).await;
    assert_eq!((world.open("p-1").await, world.handed()), (None, vec![]));
}

#[tokio::test(start_paused = true)]
async fn who_says_it_again_does_not_get_again_what_they_have() {
    let world = World::start(ok);
    world.platform.has("p-1", 2);
    world.expect("p-1").await;
    world.pass(11).await;
    assert_eq!(world.handed(), [2]);
    world.expect("p-1").await;
    world.pass(60).await;
    assert_eq!(world.handed(), [2]);
    // While the platform is asked, too: what comes of that is about the earlier one.
    *world.platform.slow.lock().unwrap() = Duration::from_secs(5);
    world.pass(30).await;
    world.expect("p-1").await;
    let said = world.open("p-1").await.unwrap();
    world.pass(9).await;
    assert_eq!(world.open("p-1").await.unwrap(), said);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_may_be_asked_for_any_more_is_parked_and_told() {
    let mut bare = waiting("bare");
    let world = World::of(
        vec![waiting("unico"), bare.clone(), waiting("gone")],
        ok,
        Some(vec!["api.unico.example".to_owned()]),
    );
    for name in ["unico", "bare", "gone"] {
        assert_eq!(world.put_with(&format!("/expect/hr/{name}/p-1"), KEY).await, 204);
    }
    bare.fallback = None;
    world.receivers.send_replace(by_uid(vec![waiting("unico"), bare]));
    world.pass(1).await;
    let state = async |name: &str| {
        let found = world.store.expectation(&format!("hr-{name}"), "p-1").await.unwrap();
        found.map(|one| one.parked)
    };
    assert_eq!(
        (state("unico").await, state("bare").await, state("gone").await),
        (Some(false), Some(true), Some(true))
    );
    assert_eq!(world.facts.count("GivenUp"), 2);
    // The next process finds them so, and does not tell of them again.
    world.pass(600).await;
    assert_eq!(world.facts.count("GivenUp"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_at_a_receiver_that_is_refused_stays() {
    let world = World::start(ok);
    world.expect("p-1").await;
    world.receivers.send_replace(and_refused(vec![], &["hr-unico"]));
    world.pass(600).await;
    assert_eq!((world.open("p-1").await.map(|one| one.parked), world.platform.asked()), (Some(false), 0));
    world.platform.has("p-1", 3);
    world.receivers.send_replace(by_uid(vec![waiting("unico")]));
    world.pass(10).await;
    assert_eq!((world.open("p-1").await, world.handed()), (None, vec![3]));
}

/// Each has more to ask for than its share of what the platform may be asked.
#[tokio::test(start_paused = true)]
async fn namespaces_that_ask_the_same_platform_have_turns() {
    let of = |namespace: &str| {
        let mut receiver = waiting("unico");
        receiver.owner = crate::gate::hand_on::tests::world::owner(namespace, "unico");
        receiver
    };
    let namespaces = ["a", "b", "c"];
    let receivers = namespaces.iter().map(|namespace| of(namespace)).collect();
    let world = World::of(receivers, ok, Some(vec!["api.unico.example".to_owned()]));
    for namespace in namespaces {
        for number in 0..1_000 {
            let id = format!("{namespace}-{number}");
            world.platform.has(&id, 1);
            assert_eq!(world.put_with(&format!("/expect/{namespace}/unico/{id}"), KEY).await, 204);
        }
    }
    world.pass(70).await;
    let asked = world.platform.asked.lock().unwrap().clone();
    let of = |namespace: &str| asked.iter().filter(|question| question.id.starts_with(namespace)).count();
    let counts = namespaces.map(of);
    assert!(counts.iter().all(|count| (180..=230).contains(count)), "{counts:?}");
}
