//! What people and schedulers are shown.

use super::*;

pub(in crate::store) async fn lists_are_in_order_and_go_on_where_they_ended(ground: &dyn Ground) {
    let store = ground.open().await;
    let mut expected = Vec::new();
    for number in (0..40).rev() {
        let namespace = if number % 2 == 0 { "a" } else { "b" };
        let name = if number % 4 < 2 { "one" } else { "two" };
        store.put(NewDelivery { owner: owner(namespace, name), ..delivery(number) }).await.unwrap();
        expected.push((id(number), namespace, name));
    }
    expected.reverse();
    let mut parked = Vec::new();
    for taken in store.take(UID, 3, at(1), LEASE).await.unwrap() {
        store.park(taken.id, taken.claim, failure("gave up")).await.unwrap();
        parked.push(taken.id);
    }
    for namespace in [None, Some("a"), Some("b"), Some("c")] {
        for receiver in [None, Some("one"), Some("three")] {
            for state in [None, Some(RowState::Pending), Some(RowState::Parked)] {
                let selection = Selection {
                    namespace: namespace.map(str::to_owned),
                    receiver: receiver.map(str::to_owned),
                    state,
                };
                let wanted: Vec<_> = expected
                    .iter()
                    .filter(|(id, in_namespace, name)| {
                        namespace.is_none_or(|wanted| wanted == *in_namespace)
                            && receiver.is_none_or(|wanted| wanted == *name)
                            && state.is_none_or(|state| (state == RowState::Parked) == parked.contains(id))
                    })
                    .map(|(id, ..)| *id)
                    .collect();
                let mut found = Vec::new();
                loop {
                    let page = store.list(&selection, found.last().copied(), 3).await.unwrap();
                    assert!(page.len() <= 3);
                    let is_last = page.len() < 3;
                    found.extend(page.into_iter().map(|row| row.id));
                    if is_last {
                        break;
                    }
                }
                assert_eq!(found, wanted, "{selection:?}");
            }
        }
    }
    let first = &store.list(&Selection::default(), None, 1).await.unwrap()[0];
    assert_eq!(store.show(first.id).await.unwrap().as_ref(), Some(first));
    assert_eq!((first.size, first.arrived, &first.owner), (6, at(0), &owner("a", "one")));
    assert_eq!(store.list(&Selection::default(), None, 0).await, Ok(Vec::new()));
}

pub(in crate::store) async fn usage_counts_what_is_there(ground: &dyn Ground) {
    let store = ground.open().await;
    assert_eq!(store.usage().await, Ok(Vec::new()));
    for (number, arrived) in [(1, 10), (2, 20), (3, 30)] {
        let sent = NewDelivery {
            id: DeliveryId::new(at(arrived), [number; 10]),
            arrived: at(arrived),
            ..delivery(number)
        };
        store.put(sent).await.unwrap();
    }
    let first = take_one(&*store, at(100)).await.unwrap();
    store.park(first.id, first.claim, failure("gave up")).await.unwrap();
    drop(store);
    let store = ground.open().await;
    let expected = Usage {
        owner: owner("a", "one"),
        pending: Extent { deliveries: 2, bytes: 12 },
        parked: Extent { deliveries: 1, bytes: 6 },
        oldest_pending: Some(at(20)),
        expected: 0,
        expected_parked: 0,
        window_shortened_until: None,
    };
    assert_eq!(store.usage().await, Ok(vec![expected]));
}

pub(in crate::store) async fn the_next_due_is_told(ground: &dyn Ground) {
    let store = ground.open().await;
    assert_eq!(store.next_due(UID).await, Ok(None));
    for (number, arrived) in [(1, 10), (2, 20)] {
        store.put(NewDelivery { arrived: at(arrived), ..delivery(number) }).await.unwrap();
    }
    assert_eq!(store.next_due(UID).await, Ok(Some(at(10))));
    let first = take_one(&*store, at(15)).await.unwrap();
    assert_eq!(store.next_due(UID).await, Ok(Some(at(20))));
    take_one(&*store, at(30)).await.unwrap();
    // Both are under way: the first lease that ends.
    assert_eq!(store.next_due(UID).await, Ok(Some(at(75))));
    store.retry(id(1), first.claim, at(50), true, failure("answered 500")).await.unwrap();
    assert_eq!(store.next_due(UID).await, Ok(Some(at(50))));
}
