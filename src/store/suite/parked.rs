//! What is parked: waiting for a person, replayed, handed over, dropped.

use std::sync::Arc;

use futures::future::join_all;

use super::*;

pub(in crate::store) async fn parked_it_waits_for_a_person(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    park_one(&*store, id(1)).await;
    drop(store);
    let store = ground.open().await;
    assert_eq!(taken_ids(&*store, at(1_000_000_000)).await, []);
    assert_eq!(store.next_due(UID).await, Ok(None));
    let row = store.show(id(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.size, row.owner), (RowState::Parked, 6, owner("a", "one")));
    assert_eq!(store.body(id(1)).await, Ok(Some(delivery(1).body)));
}

pub(in crate::store) async fn a_replayed_delivery_begins_anew(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    assert_eq!(store.replay(id(1), at(5)).await, Ok(false), "it waits already");
    let first = take_one(&*store, at(1)).await.unwrap();
    store.retry(id(1), first.claim, at(2), true, failure("answered 500")).await.unwrap();
    park_one(&*store, id(1)).await;
    assert_eq!(store.replay(id(1), at(2000)).await, Ok(true));
    assert_eq!(store.replay(id(1), at(2000)).await, Ok(false));
    assert_eq!(store.replay(id(99), at(2000)).await, Ok(false));
    drop(store);
    let store = ground.open().await;
    assert!(take_one(&*store, at(1999)).await.is_none());
    let taken = take_one(&*store, at(2000)).await.unwrap();
    assert_eq!((taken.id, taken.arrived, taken.since), (id(1), at(0), at(2000)));
    assert_eq!((taken.attempts, taken.refusals), (0, 0));
    assert_eq!(taken.body, delivery(1).body);
}

/// The receiver `a/one` made again.
fn successor() -> Owner {
    Owner { uid: "made again".into(), ..owner("a", "one") }
}

pub(in crate::store) async fn a_parked_delivery_goes_over_to_the_next_receiver_of_its_name_and_to_nobody_else(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    let (event_time, content_encoding) = (Some("2026-11-27".to_owned()), Some("br".to_owned()));
    let sent = NewDelivery { event_time, content_encoding, ..delivery(1) };
    store.put(sent.clone()).await.unwrap();
    let adopt = |store: &Arc<dyn Store>, by| {
        let store = Arc::clone(store);
        async move { store.adopt(id(1), by, room(), at(2000)).await }
    };
    assert_eq!(adopt(&store, successor()).await, Ok(Adopted::Absent), "it waits for its own");
    let first = take_one(&*store, at(1)).await.unwrap();
    store.retry(id(1), first.claim, at(2), true, failure("answered 500")).await.unwrap();
    park_one(&*store, id(1)).await;
    for other in [owner("a", "two"), owner("b", "one")] {
        let other = Owner { uid: successor().uid, ..other };
        assert_eq!(adopt(&store, other).await, Ok(Adopted::Absent));
    }
    assert_eq!(store.adopt(id(9), successor(), room(), at(2000)).await, Ok(Adopted::Absent));
    assert_eq!(store.show(id(1)).await.unwrap().unwrap().owner, owner("a", "one"));
    assert_eq!(adopt(&store, successor()).await, Ok(Adopted::Waits));
    assert_eq!(adopt(&store, successor()).await, Ok(Adopted::Absent), "it waits already");
    drop(store);
    let store = ground.open().await;
    assert_eq!(taken_ids(&*store, at(9000)).await, [], "it is the former one's no longer");
    let uid = &successor().uid;
    assert!(store.take(uid, 1, at(1999), LEASE).await.unwrap().is_empty());
    let row = store.show(id(1)).await.unwrap().unwrap();
    assert_eq!((row.owner, row.state, row.size), (successor(), RowState::Pending, 6));
    let taken = store.take(uid, 1, at(2000), LEASE).await.unwrap().pop().unwrap();
    assert_eq!((taken.id, taken.arrived, taken.since), (id(1), at(0), at(2000)));
    assert_eq!((taken.attempts, taken.refusals), (0, 0));
    assert_eq!((&taken.body, &taken.content_type), (&sent.body, &sent.content_type));
    assert_eq!((&taken.event_time, &taken.content_encoding), (&sent.event_time, &sent.content_encoding));
    let held: Vec<_> = store.usage().await.unwrap();
    let of = |uid: &str| held.iter().find(|usage| &*usage.owner.uid == uid).map(|usage| usage.pending);
    assert_eq!(of(uid), Some(Extent { deliveries: 1, bytes: 6 }));
    assert_eq!(of(UID).unwrap_or_default(), Extent::default());
    // Parked once more, its own receiver is the new one.
    store.park(id(1), taken.claim, failure("gave up")).await.unwrap();
    assert_eq!(adopt(&store, successor()).await, Ok(Adopted::Waits));
    store.done(id(1)).await.unwrap();
    assert_eq!(store.show(id(1)).await, Ok(None));
}

pub(in crate::store) async fn one_that_goes_over_needs_room_there_and_none_in_its_namespace(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    for number in [1, 2, 3] {
        store.put(delivery(number)).await.unwrap();
        park_one(&*store, id(number)).await;
    }
    let one = Extent { deliveries: 1, bytes: 6 };
    let room = Room { pending: one, parked: one, namespace: one, leaves_some: true };
    let adopt = |number| store.adopt(id(number), successor(), room, at(2000));
    assert_eq!(adopt(1).await, Ok(Adopted::Waits), "its namespace has as much as before");
    assert_eq!(adopt(2).await, Ok(Adopted::Full(Bound::Pending)));
    let taken = store.take(&successor().uid, 1, at(2000), LEASE).await.unwrap();
    store.park(id(1), taken[0].claim, failure("gave up")).await.unwrap();
    assert_eq!(adopt(2).await, Ok(Adopted::Full(Bound::Parked)));
    assert_eq!(adopt(1).await, Ok(Adopted::Waits), "its own needs no second room among what is parked");
    let row = store.show(id(2)).await.unwrap().unwrap();
    assert_eq!((row.owner, row.state), (owner("a", "one"), RowState::Parked));
    store.done(id(1)).await.unwrap();
    assert_eq!(adopt(2).await, Ok(Adopted::Waits));
}

pub(in crate::store) async fn what_is_known_of_an_event_goes_over_with_its_delivery(ground: &dyn Ground) {
    let store = ground.open().await;
    // Three copies of one event: the first was taken by the application of the former receiver.
    store.put(delivery(1)).await.unwrap();
    take_one(&*store, at(1)).await.unwrap();
    store.done(id(1)).await.unwrap();
    for number in [2, 3] {
        store.put(NewDelivery { id: id(number), ..delivery(1) }).await.unwrap();
    }
    assert_eq!(store.park_all(UID, failure("gone")).await, Ok(2));
    for number in [2, 3] {
        assert_eq!(store.adopt(id(number), successor(), room(), at(2000)).await, Ok(Adopted::Waits));
    }
    let by = |copy: NewDelivery| NewDelivery { owner: successor(), ..copy };
    let repeated = store.put(by(dropped_copy(&delivery(1), 4))).await.unwrap();
    assert!(matches!(repeated, Put::Repeated(_)), "{repeated:?}");
    let taken = store.take(&successor().uid, 9, at(2000), LEASE).await.unwrap();
    let marks: Vec<_> = taken.iter().map(|taken| (taken.id, taken.duplicate_of)).collect();
    assert_eq!(marks, [(id(2), Some(id(1))), (id(3), Some(id(1)))]);
    // Whose key has expired is forgotten there as well.
    assert!(store.forget_expired(at(10_000)).await.unwrap() > 0);
    for number in [2, 3] {
        store.done(id(number)).await.unwrap();
    }
    store.forget_expired(at(10_000)).await.unwrap();
    assert_eq!(store.usage().await, Ok(vec![]));
}

pub(in crate::store) async fn only_what_is_parked_can_be_dropped(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    assert_eq!(store.drop_parked(id(1)).await, Ok(false));
    park_one(&*store, id(1)).await;
    assert_eq!(store.drop_parked(id(1)).await, Ok(true));
    assert_eq!(store.drop_parked(id(1)).await, Ok(false));
    assert_eq!(store.show(id(1)).await, Ok(None));
    assert_eq!(store.body(id(1)).await, Ok(None));
}

pub(in crate::store) async fn what_waits_for_a_receiver_that_is_gone_is_parked(ground: &dyn Ground) {
    let store = ground.open().await;
    let owned: Vec<_> = (0..1200u32)
        .map(|number| {
            let mut random = [0; 10];
            random[..4].copy_from_slice(&number.to_be_bytes());
            NewDelivery { id: DeliveryId::new(at(0), random), ..delivery(1) }
        })
        .collect();
    for answer in join_all(owned.iter().cloned().map(|delivery| store.put(delivery))).await {
        assert_eq!(answer, Ok(Put::Stored));
    }
    store.put(NewDelivery { owner: owner("a", "two"), ..delivery(2) }).await.unwrap();
    let under_way = take_one(&*store, at(1)).await.unwrap();
    assert_eq!(store.park_all(UID, failure("the receiver was deleted")).await, Ok(1200));
    assert_eq!(store.park_all(UID, failure("again")).await, Ok(0));
    assert_eq!(store.park_all("nobody", failure("again")).await, Ok(0));
    store.retry(under_way.id, under_way.claim, at(2), true, failure("late")).await.unwrap();
    assert_eq!(taken_ids(&*store, at(1000)).await, []);
    let row = store.show(under_way.id).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.attempts, row.failure),
        (
            RowState::Parked,
            u32::from(ground.counts_what_is_taken()),
            Some(failure("the receiver was deleted"))
        )
    );
    let usage = store.usage().await.unwrap();
    assert_eq!((usage[0].pending.deliveries, usage[0].parked.deliveries), (0, 1200));
    assert_eq!((usage[1].pending.deliveries, usage[1].parked.deliveries), (1, 0));
}
