//! Deliveries that are taken, tried and told of.

use bytes::Bytes;

use super::*;

pub(in crate::store) async fn a_delivery_is_taken_as_it_came(ground: &dyn Ground) {
    let store = ground.open().await;
    let mut sent = delivery(1);
    sent.body = Bytes::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    sent.event_time = Some("2026-11-27T00:00:00Z ü".to_owned());
    sent.content_encoding = Some("gzip".to_owned());
    assert_eq!(store.put(sent.clone()).await, Ok(Put::Stored));
    let empty = NewDelivery { body: Bytes::new(), content_type: None, ..delivery(2) };
    assert_eq!(store.put(empty).await, Ok(Put::Stored));
    let taken = store.take(UID, 10, at(1), LEASE).await.unwrap();
    assert_eq!(taken.len(), 2);
    let first = &taken[0];
    assert_eq!((first.id, first.arrived, first.since), (sent.id, at(0), at(0)));
    assert_eq!(first.body, sent.body);
    assert_eq!((&first.content_type, &first.event_time), (&sent.content_type, &sent.event_time));
    assert_eq!((&first.content_encoding, &taken[1].content_encoding), (&sent.content_encoding, &None));
    assert_eq!((first.attempts, first.refusals, first.duplicate_of), (0, 0, None));
    assert_eq!((taken[1].body.len(), &taken[1].content_type, &taken[1].event_time), (0, &None, &None));
    assert_ne!(taken[0].claim, taken[1].claim);
}

pub(in crate::store) async fn what_was_answered_is_there_after_a_crash(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    // Under way when the process ends: the claim ends with it, or when it runs out.
    assert!(take_one(&*store, at(1)).await.is_some());
    drop(store);
    let store = ground.open().await;
    let taken = take_one(&*store, at(100)).await.unwrap();
    assert_eq!((taken.id, taken.body), (id(1), delivery(1).body));
}

pub(in crate::store) async fn what_is_done_is_gone_and_stays_gone(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    take_one(&*store, at(1)).await.unwrap();
    store.done(id(1)).await.unwrap();
    drop(store);
    let store = ground.open().await;
    assert_eq!(taken_ids(&*store, at(1000)).await, []);
    assert_eq!(store.show(id(1)).await, Ok(None));
    assert_eq!(store.body(id(1)).await, Ok(None));
    // A second time, and of a delivery that never was.
    store.done(id(1)).await.unwrap();
    store.done(id(99)).await.unwrap();
}

pub(in crate::store) async fn the_oldest_due_is_taken_first_and_nothing_before_its_time(ground: &dyn Ground) {
    let store = ground.open().await;
    for (number, arrived) in [(1, 30), (2, 10), (3, 20), (4, 50)] {
        store.put(NewDelivery { arrived: at(arrived), ..delivery(number) }).await.unwrap();
    }
    let other = NewDelivery { owner: owner("a", "two"), ..delivery(5) };
    store.put(other).await.unwrap();
    assert_eq!(taken_ids(&*store, at(9)).await, []);
    let two = store.take(UID, 2, at(30), LEASE).await.unwrap();
    assert_eq!(two.iter().map(|taken| taken.id).collect::<Vec<_>>(), [id(2), id(3)]);
    assert_eq!(taken_ids(&*store, at(30)).await, [id(1)]);
    assert_eq!(taken_ids(&*store, at(50)).await, [id(4)]);
    assert!(store.take("nobody", 9, at(1000), LEASE).await.unwrap().is_empty());
}

pub(in crate::store) async fn what_is_taken_is_nobody_elses_until_the_lease_ends(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let first = take_one(&*store, at(1)).await.unwrap();
    assert!(take_one(&*store, at(1)).await.is_none());
    assert!(take_one(&*store, at(60)).await.is_none());
    let second = take_one(&*store, at(61)).await.unwrap();
    assert_eq!(first.id, second.id);
    assert_ne!(first.claim, second.claim);
}

pub(in crate::store) async fn a_claim_that_is_over_changes_nothing_but_success_is_always_believed(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let first = take_one(&*store, at(1)).await.unwrap();
    let second = take_one(&*store, at(100)).await.unwrap();
    store.retry(id(1), first.claim, at(200), true, failure("stale")).await.unwrap();
    store.park(id(1), first.claim, failure("stale")).await.unwrap();
    store.give_back(id(1), first.claim).await.unwrap();
    let row = store.show(id(1)).await.unwrap().unwrap();
    let begun = if ground.counts_what_is_taken() { 2 } else { 0 };
    assert_eq!((row.state, row.attempts, row.failure), (RowState::Pending, begun, None));
    assert!(take_one(&*store, at(101)).await.is_none(), "it is under way with the second");
    store.park(id(1), second.claim, failure("gave up")).await.unwrap();
    store.park(id(1), second.claim, failure("twice")).await.unwrap();
    let row = store.show(id(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.failure), (RowState::Parked, Some(failure("gave up"))));
    store.done(id(1)).await.unwrap();
    assert_eq!(store.show(id(1)).await, Ok(None));
    store.retry(id(1), second.claim, at(200), true, failure("gone")).await.unwrap();
    assert_eq!(store.show(id(1)).await, Ok(None));
}

pub(in crate::store) async fn given_back_it_is_as_it_was(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let first = take_one(&*store, at(1)).await.unwrap();
    store.give_back(id(1), first.claim).await.unwrap();
    let second = take_one(&*store, at(1)).await.unwrap();
    assert_eq!((second.id, second.attempts, second.refusals), (id(1), 0, 0));
    store.give_back(id(99), second.claim).await.unwrap();
    assert!(take_one(&*store, at(1)).await.is_none());
}

pub(in crate::store) async fn each_attempt_is_counted_and_explained(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let first = take_one(&*store, at(1)).await.unwrap();
    store.retry(id(1), first.claim, at(100), true, failure("answered 500")).await.unwrap();
    assert!(take_one(&*store, at(99)).await.is_none());
    let row = store.show(id(1)).await.unwrap().unwrap();
    assert_eq!((row.attempts, row.due, row.failure), (1, at(100), Some(failure("answered 500"))));
    drop(store);
    let store = ground.open().await;
    let second = take_one(&*store, at(100)).await.unwrap();
    assert_eq!((second.attempts, second.refusals), (1, 1));
    store.retry(id(1), second.claim, at(200), false, failure("nobody listens")).await.unwrap();
    let third = take_one(&*store, at(200)).await.unwrap();
    assert_eq!((third.attempts, third.refusals, third.since), (2, 1, at(0)));
    store.park(id(1), third.claim, failure("gave up")).await.unwrap();
    let row = store.show(id(1)).await.unwrap().unwrap();
    assert_eq!((row.attempts, row.failure), (3, Some(failure("gave up"))));
}
