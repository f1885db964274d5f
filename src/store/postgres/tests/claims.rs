//! Claims are judged by the clock of the database.

use super::*;
use crate::store::suite::{at, delivery, failure, id};
use crate::store::{DeliveryId, NewDelivery, RowState};

const UID: &str = "uid-a-one";
const LONG: Duration = Duration::from_secs(3600);

async fn ids(store: &PostgresStore, lease: Duration) -> Vec<DeliveryId> {
    store.take(UID, 9, at(1), lease).await.unwrap().into_iter().map(|taken| taken.id).collect()
}

#[tokio::test]
async fn what_one_gate_has_taken_another_one_gets_when_the_lease_is_over() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    for number in [1, 2] {
        one.put(delivery(number)).await.unwrap();
    }
    assert_eq!(ids(&one, LONG).await, [id(1), id(2)]);
    // What time it is for the gates says nothing.
    assert_eq!(other.take(UID, 9, at(1_000_000_000), LONG).await.unwrap().len(), 0);
    base.sql("UPDATE hookkeeper.deliveries SET claimed_until = claimed_until - 3600000000");
    let again = other.take(UID, 9, at(1), LONG).await.unwrap();
    assert_eq!(
        again.iter().map(|taken| (taken.id, taken.attempts)).collect::<Vec<_>>(),
        [(id(1), 1), (id(2), 1)]
    );
}

#[tokio::test]
async fn an_attempt_whose_end_nobody_told_counts() {
    let base = Base::new(None);
    let store = base.real_store().await;
    store.put(delivery(1)).await.unwrap();
    ids(&store, Duration::ZERO).await;
    let second = store.take(UID, 9, at(1), LONG).await.unwrap().remove(0);
    assert_eq!((second.attempts, second.refusals), (1, 0));
    store.retry(id(1), second.claim, at(1), true, failure("answered 500")).await.unwrap();
    let third = store.take(UID, 9, at(1), LONG).await.unwrap().remove(0);
    assert_eq!((third.attempts, third.refusals), (2, 1));
    store.give_back(id(1), third.claim).await.unwrap();
    assert_eq!(store.show(id(1)).await.unwrap().unwrap().attempts, 2);
}

#[tokio::test]
async fn the_end_of_a_lease_is_told_in_the_time_of_who_asks() {
    let base = Base::new(None);
    let store = base.real_store().await;
    store.put(delivery(1)).await.unwrap();
    let before = Utc::now();
    ids(&store, LONG).await;
    // Also where the two clocks are not the same.
    let due = store.next_due(UID).await.unwrap().unwrap();
    let after = Utc::now();
    assert!(due >= before + LONG && due <= after + LONG + Duration::from_secs(1), "{before} {due} {after}");
}

#[tokio::test]
async fn gates_that_take_at_the_same_time_get_different_ones() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    for number in 0..60 {
        one.put(delivery(number)).await.unwrap();
    }
    let mut taken = Vec::new();
    while taken.len() < 60 {
        let takes = (0..4).map(|index| {
            let store = if index % 2 == 0 { &one } else { &other };
            store.take(UID, 3, at(1), LONG)
        });
        for some in futures::future::join_all(takes).await {
            taken.extend(some.unwrap().into_iter().map(|taken| taken.id));
        }
    }
    taken.sort();
    assert_eq!(taken, (0..60).map(id).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_took_it_last_is_believed_and_success_of_anybody() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    one.put(delivery(1)).await.unwrap();
    let first = one.take(UID, 1, at(1), Duration::ZERO).await.unwrap().remove(0);
    let second = other.take(UID, 1, at(1), LONG).await.unwrap().remove(0);
    one.park(id(1), first.claim, failure("late")).await.unwrap();
    one.retry(id(1), first.claim, at(9), true, failure("late")).await.unwrap();
    one.give_back(id(1), first.claim).await.unwrap();
    assert!(ids(&one, LONG).await.is_empty(), "the other one has it");
    other.park(id(1), second.claim, failure("gave up")).await.unwrap();
    let row = one.show(id(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.failure), (RowState::Parked, Some(failure("gave up"))));
    one.done(id(1)).await.unwrap();
    assert_eq!(other.show(id(1)).await, Ok(None));
}

#[tokio::test]
async fn large_bodies_are_taken_a_few_at_a_time() {
    let base = Base::new(None);
    let store = base.real_store().await;
    for number in 0..6 {
        let body = vec![number; 6 << 20].into();
        store.put(NewDelivery { body, ..delivery(number) }).await.unwrap();
    }
    assert_eq!(ids(&store, LONG).await, [id(0), id(1), id(2)]);
    assert_eq!(ids(&store, LONG).await, [id(3), id(4), id(5)]);
}
