//! Events that come again.

use std::time::Duration;

use futures::future::join_all;

use super::*;

pub(in crate::store) async fn the_same_event_with_the_same_body_is_dropped_where_that_is_asked_for(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let marked = NewDelivery { id: id(2), ..delivery(1) };
    assert_eq!(store.put(marked).await, Ok(Put::Stored));
    let repeated = store.put(dropped_copy(&delivery(1), 3)).await.unwrap();
    assert!(
        matches!(repeated, Put::Repeated(earlier) if earlier == id(1) || earlier == id(2)),
        "{repeated:?}"
    );
    assert_eq!(store.show(id(3)).await, Ok(None));
    // While it is under way, and after a crash.
    assert_eq!(taken_ids(&*store, at(1)).await, [id(1), id(2)]);
    drop(store);
    let store = ground.open().await;
    assert!(matches!(store.put(dropped_copy(&delivery(1), 4)).await, Ok(Put::Repeated(_))));
}

pub(in crate::store) async fn another_body_or_another_receiver_is_another_delivery(ground: &dyn Ground) {
    let store = ground.open().await;
    let first = dropped_copy(&delivery(1), 1);
    store.put(first.clone()).await.unwrap();
    let mut other_body = dropped_copy(&first, 2);
    other_body.body = "changed".into();
    other_body.key.body = digest("changed");
    assert_eq!(store.put(other_body.clone()).await, Ok(Put::Stored));
    // Each of the two bodies is known from now on.
    assert_eq!(store.put(dropped_copy(&other_body, 3)).await, Ok(Put::Repeated(id(2))));
    assert_eq!(store.put(dropped_copy(&first, 4)).await, Ok(Put::Repeated(id(1))));
    let other_event =
        NewDelivery { key: EventKey { event: digest("other"), ..first.key }, ..dropped_copy(&first, 5) };
    assert_eq!(store.put(other_event).await, Ok(Put::Stored));
    let other_receiver = NewDelivery { owner: owner("a", "two"), ..dropped_copy(&first, 6) };
    assert_eq!(store.put(other_receiver).await, Ok(Put::Stored));
    // The same name, made again: not the same receiver.
    let made_anew = Owner { uid: "another-uid".into(), ..owner("a", "one") };
    assert_eq!(store.put(NewDelivery { owner: made_anew, ..dropped_copy(&first, 7) }).await, Ok(Put::Stored));
}

pub(in crate::store) async fn a_key_is_known_for_its_window(ground: &dyn Ground) {
    let store = ground.open().await;
    let first = dropped_copy(&delivery(1), 1);
    store.put(first.clone()).await.unwrap();
    store.done(id(1)).await.unwrap();
    let arriving = |number, seconds| NewDelivery { arrived: at(seconds), ..dropped_copy(&first, number) };
    assert_eq!(store.put(arriving(2, 3599)).await, Ok(Put::Repeated(id(1))));
    assert_eq!(store.forget_expired(at(3599)).await, Ok(0));
    assert_eq!(store.put(arriving(3, 3600)).await, Ok(Put::Stored));
    store.done(id(3)).await.unwrap();
    assert_eq!(store.put(arriving(4, 7199)).await, Ok(Put::Repeated(id(3))));
    assert!(store.forget_expired(at(7200)).await.unwrap() > 0);
    assert_eq!(store.forget_expired(at(7200)).await, Ok(0));
    assert_eq!(store.put(arriving(5, 7199)).await, Ok(Put::Stored), "what is forgotten is not known");
    let never = NewDelivery {
        key: EventKey { window: Duration::ZERO, event: digest("never"), ..first.key },
        ..dropped_copy(&first, 6)
    };
    assert_eq!(store.put(never.clone()).await, Ok(Put::Stored));
    assert_eq!(store.put(dropped_copy(&never, 7)).await, Ok(Put::Stored));
    let long = EventKey { window: Duration::MAX, event: digest("long"), ..first.key };
    let long = NewDelivery { key: long, ..dropped_copy(&first, 8) };
    assert_eq!(store.put(long.clone()).await, Ok(Put::Stored));
    assert_eq!(
        store.put(NewDelivery { arrived: at(1 << 30), ..dropped_copy(&long, 9) }).await,
        Ok(Put::Repeated(id(8)))
    );
}

pub(in crate::store) async fn a_key_outlives_its_delivery_but_not_one_that_was_dropped(ground: &dyn Ground) {
    let store = ground.open().await;
    let handed_on = dropped_copy(&delivery(1), 1);
    store.put(handed_on.clone()).await.unwrap();
    store.done(id(1)).await.unwrap();
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.put(dropped_copy(&handed_on, 2)).await, Ok(Put::Repeated(id(1))));
    let given_up = dropped_copy(&delivery(3), 3);
    store.put(given_up.clone()).await.unwrap();
    park_one(&*store, id(3)).await;
    assert_eq!(store.drop_parked(id(3)).await, Ok(true));
    // Nobody has it: the platform's next try is a new delivery.
    assert_eq!(store.put(dropped_copy(&given_up, 4)).await, Ok(Put::Stored));
    // Of two copies one is dropped: the other one is still known.
    let first = delivery(5);
    store.put(first.clone()).await.unwrap();
    store.put(NewDelivery { id: id(6), ..first.clone() }).await.unwrap();
    store.done(id(4)).await.unwrap();
    park_one(&*store, id(5)).await;
    assert_eq!(store.drop_parked(id(5)).await, Ok(true));
    assert_eq!(store.put(dropped_copy(&first, 7)).await, Ok(Put::Repeated(id(6))));
}

pub(in crate::store) async fn a_repetition_revives_what_is_parked(ground: &dyn Ground) {
    let store = ground.open().await;
    let mut sent = delivery(1);
    sent.key.drop_repeated = true;
    store.put(sent.clone()).await.unwrap();
    park_one(&*store, id(1)).await;
    let repetition = NewDelivery { id: id(2), arrived: at(2000), ..sent };
    assert_eq!(store.put(repetition).await, Ok(Put::Revived(id(1))));
    assert_eq!(store.show(id(2)).await, Ok(None));
    let taken = take_one(&*store, at(2000)).await.unwrap();
    assert_eq!((taken.id, taken.attempts, taken.since), (id(1), 0, at(2000)));
    store.done(id(1)).await.unwrap();
    // One that is only marked is stored beside it: nothing that was acknowledged goes into another one.
    store.put(delivery(3)).await.unwrap();
    park_one(&*store, id(3)).await;
    let copy = NewDelivery { id: id(4), arrived: at(2000), ..delivery(3) };
    assert_eq!(store.put(copy).await, Ok(Put::Stored));
    assert_eq!(store.show(id(3)).await.unwrap().unwrap().state, RowState::Parked);
    let taken = take_one(&*store, at(2000)).await.unwrap();
    assert_eq!(taken.id, id(4));
    store.done(id(4)).await.unwrap();
    // Another body is no repetition.
    store.put(delivery(5)).await.unwrap();
    park_one(&*store, id(5)).await;
    let mut other = NewDelivery { id: id(6), ..delivery(5) };
    other.key.body = digest("other");
    assert_eq!(store.put(other).await, Ok(Put::Stored));
    assert_eq!(store.show(id(5)).await.unwrap().unwrap().state, RowState::Parked);
}

pub(in crate::store) async fn a_copy_is_marked_only_when_another_was_answered_with_success(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let mut other_body = NewDelivery { id: id(2), ..delivery(1) };
    other_body.key.body = digest("other");
    store.put(other_body).await.unwrap();
    store.put(NewDelivery { id: id(3), ..delivery(1) }).await.unwrap();
    let taken = store.take(UID, 3, at(1), LEASE).await.unwrap();
    assert!(taken.iter().all(|taken| taken.duplicate_of.is_none()), "none was answered");
    store.done(id(1)).await.unwrap();
    store.retry(id(2), taken[1].claim, at(2), true, failure("answered 500")).await.unwrap();
    store.retry(id(3), taken[2].claim, at(3), true, failure("answered 500")).await.unwrap();
    drop(store);
    let store = ground.open().await;
    let taken = store.take(UID, 3, at(3), LEASE).await.unwrap();
    let marks: Vec<_> = taken.iter().map(|taken| (taken.id, taken.duplicate_of)).collect();
    assert_eq!(marks, [(id(2), Some(id(1))), (id(3), Some(id(1)))]);
    // The window counts from the delivery that was answered.
    let late = taken[0].claim;
    store.retry(id(2), late, at(3600), true, failure("answered 500")).await.unwrap();
    assert_eq!(take_one(&*store, at(3600)).await.unwrap().duplicate_of, None);
}

pub(in crate::store) async fn copies_in_one_commit_know_each_other(ground: &dyn Ground) {
    let store = ground.open().await;
    let sent = dropped_copy(&delivery(1), 1);
    let answers = join_all((1..=20).map(|number| store.put(dropped_copy(&sent, number)))).await;
    let stored = answers.iter().filter(|answer| **answer == Ok(Put::Stored)).count();
    let repeated = answers.iter().filter(|answer| matches!(answer, Ok(Put::Repeated(_)))).count();
    assert_eq!((stored, repeated), (1, 19));
}

pub(in crate::store) async fn the_same_put_twice_is_one_delivery(ground: &dyn Ground) {
    let store = ground.open().await;
    assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
    assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
    let dropping = dropped_copy(&delivery(1), 1);
    assert_eq!(store.put(dropping).await, Ok(Put::Stored));
    assert_eq!(taken_ids(&*store, at(1)).await, [id(1)]);
    assert_eq!(store.usage().await.unwrap()[0].pending, Extent { deliveries: 1, bytes: 6 });
}
