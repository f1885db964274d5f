//! What shares a commit does not share its fate.

use futures::future::{join, join_all};

use super::*;
use crate::store::suite::{at, delivery, id, owner};
use crate::store::{Extent, NewDelivery, Put};

#[tokio::test]
async fn one_that_cannot_be_written_spoils_no_other() {
    let base = Base::new(None);
    let store = base.store().await;
    base.sql("ALTER TABLE hookkeeper.deliveries ADD CHECK (size <> 13)");
    let puts = (0..40).map(|number| {
        let body = if number == 20 { vec![0; 13] } else { vec![0; 7] };
        store.put(NewDelivery { body: body.into(), ..delivery(number) })
    });
    let answers = join_all(puts).await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(is_unavailable(answer), number == 20, "{number}: {answer:?}");
    }
    assert_eq!(store.usage().await.unwrap()[0].pending, Extent { deliveries: 39, bytes: 39 * 7 });
    assert_eq!((base.count("deliveries"), base.count("bodies"), base.count("keys")), (39, 39, 39));
}

#[tokio::test]
async fn a_receiver_that_somebody_else_holds_keeps_no_other_waiting_for_long() {
    let base = Base::new(None);
    let (store, other) = (base.store().await, base.store().await);
    let put = |number, name: &str| store.put(NewDelivery { owner: owner("a", name), ..delivery(number) });
    for (number, name) in [(1, "one"), (2, "two")] {
        put(number, name).await.unwrap();
    }
    let mut lent = other.reading.lend().await.unwrap();
    lent.session.begin().await.unwrap();
    let lock = "SELECT receiver FROM receivers WHERE name = 'one' FOR UPDATE";
    lent.session.query(lock, &[]).await.unwrap();
    let (held, free) = join(put(3, "one"), put(4, "two")).await;
    assert!(is_unavailable(&held), "{held:?}");
    assert_eq!(free, Ok(Put::Stored));
    let (held, free) = join(store.done(id(1)), store.done(id(2))).await;
    assert!(is_unavailable(&held), "{held:?}");
    assert_eq!(free, Ok(()));
    // Whoever holds it and says nothing any more loses it.
    until("it is free again", async || put(3, "one").await == Ok(Put::Stored)).await;
    store.done(id(1)).await.unwrap();
    assert_eq!(base.count("deliveries"), 2);
}

#[tokio::test]
async fn many_share_a_commit() {
    let base = Base::new(None);
    let store = base.store().await;
    store.put(delivery(0)).await.unwrap();
    let commits = || -> u64 {
        base.sql("SELECT count(DISTINCT xmin::text) FROM hookkeeper.deliveries").parse().unwrap()
    };
    assert!(join_all((1..=100).map(|number| store.put(delivery(number)))).await.iter().all(Result::is_ok));
    assert!(commits() <= 10, "{}", commits());
    let taken = store.take("uid-a-one", 1, at(1), Duration::from_secs(60)).await.unwrap();
    assert_eq!(taken[0].id, id(0));
}
