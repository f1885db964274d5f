//! What applications wait for.

use super::*;

fn expectation(number: u8) -> Expectation {
    Expectation {
        owner: owner("a", "one"),
        id: format!("tax id {number}"),
        since: at(0),
        due: at(10),
        handed_on: None,
        parked: false,
    }
}

pub(in crate::store) async fn expectations_are_kept_until_they_are_met(ground: &dyn Ground) {
    let store = ground.open().await;
    assert_eq!(store.expect(expectation(1), 10).await, Ok(true));
    let later = Expectation { due: at(5), ..expectation(2) };
    assert_eq!(store.expect(later.clone(), 10).await, Ok(true));
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.expectations_due(UID, at(4), 10).await, Ok(vec![]));
    assert_eq!(store.expectations_due(UID, at(10), 1).await, Ok(vec![later.clone()]));
    assert_eq!(store.expectations_due(UID, at(10), 10).await, Ok(vec![later, expectation(1)]));
    assert_eq!(store.expectations_due("nobody", at(10), 10).await, Ok(vec![]));
    let changed = Expectation { due: at(100), handed_on: Some(digest("2")), ..expectation(1) };
    store.expectation_changed(changed.clone()).await.unwrap();
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(Some(changed.clone())));
    assert_eq!(store.expectation("nobody", "tax id 1").await, Ok(None));
    assert_eq!(store.expectation(UID, "tax id 9").await, Ok(None));
    let parked = Expectation { parked: true, ..changed };
    store.expectation_changed(parked.clone()).await.unwrap();
    assert_eq!(store.expectations_due(UID, at(1000), 10).await.unwrap().len(), 1);
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(Some(parked)));
    // Said once more, it begins again.
    let again = Expectation { since: at(50), ..expectation(1) };
    assert_eq!(store.expect(again.clone(), 10).await, Ok(true));
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(Some(again)));
    store.expectation_met(UID, "tax id 1").await.unwrap();
    store.expectation_met(UID, "tax id 1").await.unwrap();
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(None));
    // What was met in the meantime does not come back.
    store.expectation_changed(expectation(1)).await.unwrap();
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(None));
}

pub(in crate::store) async fn expectations_have_a_bound(ground: &dyn Ground) {
    let store = ground.open().await;
    for number in 0..3 {
        assert_eq!(store.expect(expectation(number), 3).await, Ok(true));
    }
    assert_eq!(store.expect(expectation(3), 3).await, Ok(false));
    assert_eq!(store.expect(expectation(2), 3).await, Ok(true), "a known one needs no room");
    let other = Expectation { owner: owner("a", "two"), ..expectation(3) };
    assert_eq!(store.expect(other, 3).await, Ok(true), "each receiver has its own");
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.expect(expectation(3), 3).await, Ok(false));
    store.expectation_met(UID, "tax id 0").await.unwrap();
    assert_eq!(store.expect(expectation(3), 3).await, Ok(true));
    // Those that nobody is asked for make room, and do not become more and more either.
    for number in 4..40 {
        let parked = Expectation { parked: true, due: at(i64::from(number)), ..expectation(number - 1) };
        store.expectation_changed(parked).await.unwrap();
        assert_eq!(store.expect(expectation(number), 3).await, Ok(true));
    }
    let mut left = 0;
    for number in 0..40 {
        left += usize::from(store.expectation(UID, &format!("tax id {number}")).await.unwrap().is_some());
    }
    assert!(left <= 6, "{left}");
}

pub(in crate::store) async fn an_expectation_that_is_said_again_is_another_one(ground: &dyn Ground) {
    let store = ground.open().await;
    store.expect(expectation(1), 10).await.unwrap();
    let first = Expectation { handed_on: Some(digest("2")), ..expectation(1) };
    store.expectation_changed(first.clone()).await.unwrap();
    let again = Expectation { since: at(50), due: at(60), ..expectation(1) };
    assert_eq!(store.expect(again.clone(), 10).await, Ok(true));
    let again = Expectation { handed_on: Some(digest("2")), ..again };
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(Some(again.clone())), "what was handed on");
    // What came of the first one is about the first one.
    store.expectation_changed(Expectation { parked: true, ..first }).await.unwrap();
    assert_eq!(store.expectation(UID, "tax id 1").await, Ok(Some(again)));
    let usage = &store.usage().await.unwrap()[0];
    assert_eq!((usage.expected, usage.expected_parked), (1, 0));
}

pub(in crate::store) async fn expectations_of_a_receiver_that_is_gone_are_parked_revived_and_forgotten(
    ground: &dyn Ground,
) {
    let store = ground.open().await;
    let numbered = |number: u16| Expectation {
        id: format!("tax id {number}"),
        due: at(i64::from(number)),
        ..expectation(0)
    };
    for number in 0..1_200 {
        store.expect(numbered(number), 10_000).await.unwrap();
    }
    store.expect(Expectation { owner: owner("b", "two"), ..expectation(1) }, 10).await.unwrap();
    let counts = async |store: &dyn Store| {
        let usage = store.usage().await.unwrap();
        usage.iter().map(|usage| (usage.expected, usage.expected_parked)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&*store).await, [(1_200, 0), (1, 0)]);
    assert_eq!(store.park_expectations(UID, at(100)).await, Ok(1_200));
    assert_eq!(store.park_expectations(UID, at(200)).await, Ok(0));
    assert_eq!(store.park_expectations("nobody", at(200)).await, Ok(0));
    drop(store);
    let store = ground.open().await;
    assert_eq!(counts(&*store).await, [(0, 1_200), (1, 0)]);
    assert_eq!(store.expectations_due(UID, at(9_000), 10).await, Ok(vec![]));

    let list = async |state, receiver: Option<&str>, most| {
        let selection = Selection { namespace: None, receiver: receiver.map(str::to_owned), state };
        store.expectations(&selection, most).await.unwrap()
    };
    assert_eq!(list(None, None, 10_000).await.len(), 1_201);
    assert_eq!(list(None, None, 3).await.len(), 3);
    let open = list(Some(RowState::Pending), None, 10).await;
    assert_eq!(open, [Expectation { owner: owner("b", "two"), ..expectation(1) }]);
    assert_eq!(list(Some(RowState::Parked), Some("two"), 10).await, []);
    let parked = list(Some(RowState::Parked), Some("one"), 1).await;
    assert!(parked[0].parked && parked[0].due == at(100), "{parked:?}");

    assert_eq!(store.revive_expectations(UID, at(300), 700).await, Ok(700));
    assert_eq!(store.revive_expectations(UID, at(300), 700).await, Ok(0));
    assert_eq!(counts(&*store).await, [(700, 500), (1, 0)]);
    let due = store.expectations_due(UID, at(300), 10_000).await.unwrap();
    assert!(due.len() == 700 && due.iter().all(|one| one.since == at(300) && one.due == at(300)));

    assert_eq!(store.forget_expectations(at(100)).await, Ok(0));
    let mut forgotten = 0;
    while let Ok(some @ 1..) = store.forget_expectations(at(101)).await {
        forgotten += some;
    }
    assert_eq!(forgotten, 500);
    drop(store);
    let store = ground.open().await;
    assert_eq!(counts(&*store).await, [(700, 0), (1, 0)]);
}
