//! Several gates with one database.

use futures::future::join_all;

use super::*;
use crate::store::suite::{at, delivery, failure, id, owner};
use crate::store::{DeliveryId, Expectation, Extent, NewDelivery, Put};

const UID: &str = "uid-a-one";

#[tokio::test]
async fn gates_that_start_at_once_make_one_store() {
    let base = Base::new(Some(1));
    let opened = join_all((0..6).map(|_| base.real_store())).await;
    let keys: std::collections::BTreeSet<[u8; 32]> = opened.iter().map(|store| *store.digest_key()).collect();
    assert_eq!(keys.len(), 1);
    assert_eq!((base.count("store"), base.count("seals")), (1, 1));
}

#[tokio::test]
async fn copies_that_come_to_different_gates_know_each_other() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    let mut sent = delivery(0);
    sent.key.drop_repeated = true;
    let copies = (0..100).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other };
        store.put(NewDelivery { id: id(number), ..sent.clone() })
    });
    let answers = join_all(copies).await;
    let stored = answers.iter().filter(|answer| **answer == Ok(Put::Stored)).count();
    let repeated = answers.iter().filter(|answer| matches!(answer, Ok(Put::Repeated(_)))).count();
    assert_eq!((stored, repeated), (1, 99), "{answers:?}");
    assert_eq!((base.count("deliveries"), base.count("bodies"), base.count("keys")), (1, 1, 1));
}

#[tokio::test]
async fn bounds_hold_for_all_gates_together() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    let mut room = crate::store::suite::room();
    room.pending = Extent { deliveries: 50, bytes: 1 << 20 };
    let puts = (0..100).map(|number| {
        let store = if number % 2 == 0 { &one } else { &other };
        store.put(NewDelivery { room, ..delivery(number) })
    });
    let answers = join_all(puts).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(Put::Stored)).count(), 50, "{answers:?}");
    assert_eq!(one.usage().await.unwrap()[0].pending.deliveries, 50);
}

/// Whatever they do, what is counted is what is there.
#[tokio::test(flavor = "multi_thread")]
async fn gates_that_do_everything_at_once_never_stand_in_each_others_way() {
    let base = Base::new(None);
    let stores: Vec<_> =
        join_all((0..3).map(|_| base.real_store())).await.into_iter().map(Arc::new).collect();
    let receivers = ["one", "two", "three"];
    let mut tasks = Vec::new();
    for (gate, store) in (0..3u8).zip(&stores) {
        for lane in 0..8u8 {
            let store = Arc::clone(store);
            tasks.push(tokio::spawn(async move {
                for round in 0..12u8 {
                    let name = receivers[usize::from(lane + round) % 3];
                    let mut sent = delivery(round);
                    sent.owner = owner("a", name);
                    sent.id = DeliveryId::new(at(0), [gate, lane, round, 0, 0, 0, 0, 0, 0, 0]);
                    sent.key.drop_repeated = round % 2 == 0;
                    store.put(sent).await.unwrap();
                    let lease = Duration::from_secs(60);
                    for taken in store.take(&owner("a", name).uid, 3, at(1), lease).await.unwrap() {
                        match (lane + round) % 4 {
                            0 => store.done(taken.id).await.unwrap(),
                            1 => store.park(taken.id, taken.claim, failure("gave up")).await.unwrap(),
                            2 => store.give_back(taken.id, taken.claim).await.unwrap(),
                            _ => {
                                let what = failure("answered 500");
                                store.retry(taken.id, taken.claim, at(1), true, what).await.unwrap();
                            }
                        }
                    }
                    if round % 5 == 4 {
                        store.park_all(&owner("a", name).uid, failure("gone")).await.unwrap();
                        store.forget_expired(at(10_000)).await.unwrap();
                    }
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let of_rows = base.sql(
        "SELECT r.name, count(*) FILTER (WHERE state = 0), count(*) FILTER (WHERE state = 1),
             coalesce(sum(size) FILTER (WHERE state = 0), 0), coalesce(sum(size) FILTER (WHERE state = 1), 0),
             (SELECT count(*) FROM hookkeeper.keys k WHERE k.receiver = r.receiver)
         FROM hookkeeper.receivers r JOIN hookkeeper.deliveries d USING (receiver) GROUP BY r.receiver ORDER BY 1",
    );
    let counted = base.sql(
        "SELECT name, pending, parked, pending_bytes, parked_bytes, keys FROM hookkeeper.receivers r
         WHERE EXISTS (SELECT 1 FROM hookkeeper.deliveries d WHERE d.receiver = r.receiver) ORDER BY 1",
    );
    assert_eq!(counted, of_rows);
    assert_eq!(base.count("deliveries"), base.count("bodies"));
    let deadlocks = base.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    assert_eq!(deadlocks, "0");
}

fn expectation(number: u8) -> Expectation {
    Expectation {
        owner: owner("a", "one"),
        id: format!("id {number}"),
        since: at(0),
        due: at(i64::from(number)),
        handed_on: None,
        parked: false,
    }
}

#[tokio::test]
async fn an_expectation_that_one_gate_asks_for_is_not_asked_for_by_another_one() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    for number in 0..4 {
        assert_eq!(one.expect(expectation(number), 10).await, Ok(true));
    }
    let due = async |store: &PostgresStore, most| {
        let found = store.expectations_due(UID, at(100), most).await.unwrap();
        found.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(due(&one, 2).await, ["id 0", "id 1"]);
    assert_eq!(due(&other, 9).await, ["id 2", "id 3"]);
    // It sees its own again, and no more.
    assert_eq!(due(&one, 9).await, ["id 0", "id 1"]);
    let later = Expectation { due: at(50), ..expectation(0) };
    one.expectation_changed(later).await.unwrap();
    assert_eq!(due(&other, 9).await, ["id 2", "id 3", "id 0"]);
    one.expectation_met(UID, "id 1").await.unwrap();
    assert_eq!(due(&one, 9).await, Vec::<String>::new());
    // The other one has ended without a word.
    base.sql("UPDATE hookkeeper.expectations SET held_until = 0");
    assert_eq!(due(&one, 9).await, ["id 2", "id 3", "id 0"]);
}

#[tokio::test]
async fn what_is_not_due_yet_is_shown_to_all_gates_and_held_by_none() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    let tomorrow = Utc::now() + chrono::TimeDelta::days(1);
    let later = Expectation { due: tomorrow, ..expectation(1) };
    assert_eq!(one.expect(later.clone(), 10).await, Ok(true));
    for store in [&one, &other, &one] {
        let found = store.expectations_due(UID, tomorrow + chrono::TimeDelta::days(1), 9).await.unwrap();
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test]
async fn a_receiver_that_another_gate_works_for_is_not_taken_for_gone() {
    let base = Base::new(None);
    let (one, other) = (base.real_store().await, base.real_store().await);
    one.put(delivery(1)).await.unwrap();
    one.expect(expectation(1), 10).await.unwrap();
    let taken = one.take(UID, 1, at(1), Duration::from_secs(60)).await.unwrap();
    one.give_back(id(1), taken[0].claim).await.unwrap();
    assert_eq!(other.park_all(UID, failure("the receiver is gone")).await, Ok(0));
    assert_eq!(other.park_expectations(UID, at(1)).await, Ok(0));
    // That one knows better, and so do others after a while.
    assert_eq!(one.park_expectations(UID, at(1)).await, Ok(1));
    base.sql("UPDATE hookkeeper.receivers SET seen_at = seen_at - 120000000");
    assert_eq!(other.park_all(UID, failure("the receiver is gone")).await, Ok(1));
}
