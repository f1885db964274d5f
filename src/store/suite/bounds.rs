//! How much there may be.

use super::*;

pub(in crate::store) async fn bounds_are_held_for_what_waits_what_is_parked_and_the_namespace(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    let extent = |deliveries, bytes| Extent { deliveries, bytes };
    let room = Room {
        pending: extent(2, 20),
        parked: extent(1, 100),
        namespace: extent(3, 100),
        leaves_some: false,
    };
    let put = |number, namespace: &str, name: &str, size: usize| {
        let owner = owner(namespace, name);
        store.put(NewDelivery { owner, room, body: vec![b'x'; size].into(), ..delivery(number) })
    };
    assert_eq!(put(1, "a", "one", 10).await, Ok(Put::Stored));
    assert_eq!(put(2, "a", "one", 11).await, Ok(Put::Full(Bound::Pending)), "bytes");
    assert_eq!(put(2, "a", "one", 10).await, Ok(Put::Stored));
    assert_eq!(put(3, "a", "one", 0).await, Ok(Put::Full(Bound::Pending)), "number");
    assert_eq!(put(4, "a", "two", 0).await, Ok(Put::Stored), "another receiver has its own");
    assert_eq!(put(5, "a", "two", 0).await, Ok(Put::Full(Bound::Namespace)));
    assert_eq!(put(6, "b", "one", 20).await, Ok(Put::Stored), "another namespace has its own");
    park_one(&*store, id(1)).await;
    assert_eq!(put(7, "a", "one", 0).await, Ok(Put::Full(Bound::Parked)));
    drop(store);
    let store = ground.open().await;
    let put = |number, namespace: &str, name: &str, size: usize| {
        let owner = owner(namespace, name);
        store.put(NewDelivery { owner, room, body: vec![b'x'; size].into(), ..delivery(number) })
    };
    assert_eq!(put(7, "a", "one", 0).await, Ok(Put::Full(Bound::Parked)), "counted after a start as well");
    assert_eq!(put(8, "a", "two", 0).await, Ok(Put::Full(Bound::Namespace)));
    store.drop_parked(id(1)).await.unwrap();
    assert_eq!(put(9, "a", "two", 0).await, Ok(Put::Stored));
    store.done(id(9)).await.unwrap();
    store.done(id(2)).await.unwrap();
    assert_eq!(put(10, "a", "one", 20).await, Ok(Put::Stored));
}

pub(in crate::store) async fn a_repetition_needs_no_room(ground: &dyn Ground) {
    let store = ground.open().await;
    let one = Extent { deliveries: 1, bytes: 100 };
    let mut sent = dropped_copy(&delivery(1), 1);
    sent.room = Room { pending: one, ..room() };
    store.put(sent.clone()).await.unwrap();
    assert_eq!(store.put(dropped_copy(&sent, 2)).await, Ok(Put::Repeated(id(1))));
    // But what is revived waits again, and needs it.
    park_one(&*store, id(1)).await;
    let other = NewDelivery { room: sent.room, ..delivery(3) };
    store.put(other).await.unwrap();
    assert_eq!(store.put(dropped_copy(&sent, 4)).await, Ok(Put::Full(Bound::Pending)));
    store.done(id(3)).await.unwrap();
    assert_eq!(store.put(dropped_copy(&sent, 4)).await, Ok(Put::Revived(id(1))));
}
