//! What every engine of the store has to do, once for all of them.
//!
//! An engine brings a [`Ground`], on which a store can be opened again and again, and calls [`suite!`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::{BoxFuture, join_all};

use super::*;

/// Where the rows of one test are.
pub(super) trait Ground: Send + Sync {
    /// Opens the store; what was durable in it is still there.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>>;
    /// How many keys are counted, and how many there are. Nobody has the store open.
    fn keys(&self) -> BoxFuture<'_, (u64, u64)>;
    /// Whether an attempt counts from when it is taken, and not only when it is told how it ended.
    fn counts_what_is_taken(&self) -> bool {
        false
    }
    /// Whether what is under way is free again when the store is opened anew.
    fn claims_end_with_the_process(&self) -> bool {
        true
    }
}

/// One test for each point, on fresh ground.
macro_rules! suite {
    ($ground:expr => $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::store::suite::$name(&$ground).await;
            }
        )*
    };
    ($ground:expr) => {
        $crate::store::suite::suite! { $ground =>
            a_delivery_is_taken_as_it_came
            what_was_answered_is_there_after_a_crash
            what_is_done_is_gone_and_stays_gone
            the_oldest_due_is_taken_first_and_nothing_before_its_time
            what_is_taken_is_nobody_elses_until_the_lease_ends
            a_claim_that_is_over_changes_nothing_but_success_is_always_believed
            given_back_it_is_as_it_was
            each_attempt_is_counted_and_explained
            parked_it_waits_for_a_person
            a_replayed_delivery_begins_anew
            a_parked_delivery_goes_over_to_the_next_receiver_of_its_name_and_to_nobody_else
            one_that_goes_over_needs_room_there_and_none_in_its_namespace
            what_is_known_of_an_event_goes_over_with_its_delivery
            only_what_is_parked_can_be_dropped
            the_same_event_with_the_same_body_is_dropped_where_that_is_asked_for
            another_body_or_another_receiver_is_another_delivery
            a_key_is_known_for_its_window
            a_key_outlives_its_delivery_but_not_one_that_was_dropped
            a_repetition_revives_what_is_parked
            a_copy_is_marked_only_when_another_was_answered_with_success
            copies_in_one_commit_know_each_other
            the_same_put_twice_is_one_delivery
            bounds_are_held_for_what_waits_what_is_parked_and_the_namespace
            a_repetition_needs_no_room
            what_waits_for_a_receiver_that_is_gone_is_parked
            lists_are_in_order_and_go_on_where_they_ended
            usage_counts_what_is_there
            the_next_due_is_told
            expectations_are_kept_until_they_are_met
            expectations_have_a_bound
            an_expectation_that_is_said_again_is_another_one
            expectations_of_a_receiver_that_is_gone_are_parked_revived_and_forgotten
            tokens_are_replaced_as_a_whole
            standstills_are_replaced_as_a_whole
            the_key_for_digests_stays_the_same
            many_at_once_are_all_kept
            nothing_is_done_after_the_end
        }
    };
}
pub(super) use suite;

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + seconds, 123_456_000).unwrap()
}

pub(super) fn owner(namespace: &str, name: &str) -> Owner {
    Owner { namespace: namespace.into(), name: name.into(), uid: format!("uid-{namespace}-{name}").into() }
}

const PLENTY: Extent = Extent { deliveries: 1_000_000, bytes: 1 << 40 };

const LEASE: Duration = Duration::from_secs(60);

pub(super) fn room() -> Room {
    Room { pending: PLENTY, parked: PLENTY, namespace: PLENTY, leaves_some: false }
}

pub(super) fn id(number: u8) -> DeliveryId {
    DeliveryId::new(at(0), [0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

/// A digest that differs for each text.
pub(super) fn digest(text: &str) -> Digest {
    let mut digest: Digest = [0; 32];
    for (index, byte) in text.bytes().enumerate() {
        digest[index % 32] = digest[index % 32].wrapping_mul(31).wrapping_add(byte).wrapping_add(1);
    }
    digest
}

/// Delivery number so and so of the receiver `a/one`, its event and body its own, repeated ones marked.
pub(super) fn delivery(number: u8) -> NewDelivery {
    let body = format!("body {number}");
    NewDelivery {
        id: id(number),
        owner: owner("a", "one"),
        arrived: at(0),
        key: EventKey {
            event: digest(&format!("event {number}")),
            body: digest(&body),
            window: Duration::from_secs(3600),
            drop_repeated: false,
        },
        body: body.into(),
        content_type: Some("application/json".to_owned()),
        content_encoding: None,
        event_time: None,
        room: room(),
    }
}

/// Another copy of a delivery, that is dropped if it repeats one.
fn dropped_copy(of: &NewDelivery, number: u8) -> NewDelivery {
    let mut copy = of.clone();
    copy.id = id(number);
    copy.key.drop_repeated = true;
    copy
}

pub(super) fn failure(what: &str) -> LastFailure {
    LastFailure { what: what.to_owned(), when: at(5) }
}

const UID: &str = "uid-a-one";

async fn take_one(store: &dyn Store, now: DateTime<Utc>) -> Option<Taken> {
    let mut taken = store.take(UID, 1, now, LEASE).await.unwrap();
    assert!(taken.len() <= 1);
    taken.pop()
}

/// Takes a delivery and parks it.
async fn park_one(store: &dyn Store, id: DeliveryId) {
    let taken = take_one(store, at(1000)).await.unwrap();
    assert_eq!(taken.id, id);
    store.park(id, taken.claim, failure("gave up")).await.unwrap();
}

async fn taken_ids(store: &dyn Store, now: DateTime<Utc>) -> Vec<DeliveryId> {
    store.take(UID, 100, now, LEASE).await.unwrap().iter().map(|taken| taken.id).collect()
}

pub(super) async fn a_delivery_is_taken_as_it_came(ground: &dyn Ground) {
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

pub(super) async fn what_was_answered_is_there_after_a_crash(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    // Under way when the process ends: the claim ends with it, or when it runs out.
    assert!(take_one(&*store, at(1)).await.is_some());
    drop(store);
    let store = ground.open().await;
    let taken = take_one(&*store, at(100)).await.unwrap();
    assert_eq!((taken.id, taken.body), (id(1), delivery(1).body));
}

pub(super) async fn what_is_done_is_gone_and_stays_gone(ground: &dyn Ground) {
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

pub(super) async fn the_oldest_due_is_taken_first_and_nothing_before_its_time(ground: &dyn Ground) {
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

pub(super) async fn what_is_taken_is_nobody_elses_until_the_lease_ends(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let first = take_one(&*store, at(1)).await.unwrap();
    assert!(take_one(&*store, at(1)).await.is_none());
    assert!(take_one(&*store, at(60)).await.is_none());
    let second = take_one(&*store, at(61)).await.unwrap();
    assert_eq!(first.id, second.id);
    assert_ne!(first.claim, second.claim);
}

pub(super) async fn a_claim_that_is_over_changes_nothing_but_success_is_always_believed(ground: &dyn Ground) {
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

pub(super) async fn given_back_it_is_as_it_was(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    let first = take_one(&*store, at(1)).await.unwrap();
    store.give_back(id(1), first.claim).await.unwrap();
    let second = take_one(&*store, at(1)).await.unwrap();
    assert_eq!((second.id, second.attempts, second.refusals), (id(1), 0, 0));
    store.give_back(id(99), second.claim).await.unwrap();
    assert!(take_one(&*store, at(1)).await.is_none());
}

pub(super) async fn each_attempt_is_counted_and_explained(ground: &dyn Ground) {
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

pub(super) async fn parked_it_waits_for_a_person(ground: &dyn Ground) {
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

pub(super) async fn a_replayed_delivery_begins_anew(ground: &dyn Ground) {
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

pub(super) async fn a_parked_delivery_goes_over_to_the_next_receiver_of_its_name_and_to_nobody_else(
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

pub(super) async fn one_that_goes_over_needs_room_there_and_none_in_its_namespace(ground: &dyn Ground) {
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

pub(super) async fn what_is_known_of_an_event_goes_over_with_its_delivery(ground: &dyn Ground) {
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

pub(super) async fn only_what_is_parked_can_be_dropped(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    assert_eq!(store.drop_parked(id(1)).await, Ok(false));
    park_one(&*store, id(1)).await;
    assert_eq!(store.drop_parked(id(1)).await, Ok(true));
    assert_eq!(store.drop_parked(id(1)).await, Ok(false));
    assert_eq!(store.show(id(1)).await, Ok(None));
    assert_eq!(store.body(id(1)).await, Ok(None));
}

pub(super) async fn the_same_event_with_the_same_body_is_dropped_where_that_is_asked_for(
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

pub(super) async fn another_body_or_another_receiver_is_another_delivery(ground: &dyn Ground) {
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

pub(super) async fn a_key_is_known_for_its_window(ground: &dyn Ground) {
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

pub(super) async fn a_key_outlives_its_delivery_but_not_one_that_was_dropped(ground: &dyn Ground) {
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

pub(super) async fn a_repetition_revives_what_is_parked(ground: &dyn Ground) {
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

pub(super) async fn a_copy_is_marked_only_when_another_was_answered_with_success(ground: &dyn Ground) {
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

pub(super) async fn copies_in_one_commit_know_each_other(ground: &dyn Ground) {
    let store = ground.open().await;
    let sent = dropped_copy(&delivery(1), 1);
    let answers = join_all((1..=20).map(|number| store.put(dropped_copy(&sent, number)))).await;
    let stored = answers.iter().filter(|answer| **answer == Ok(Put::Stored)).count();
    let repeated = answers.iter().filter(|answer| matches!(answer, Ok(Put::Repeated(_)))).count();
    assert_eq!((stored, repeated), (1, 19));
}

pub(super) async fn the_same_put_twice_is_one_delivery(ground: &dyn Ground) {
    let store = ground.open().await;
    assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
    assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
    let dropping = dropped_copy(&delivery(1), 1);
    assert_eq!(store.put(dropping).await, Ok(Put::Stored));
    assert_eq!(taken_ids(&*store, at(1)).await, [id(1)]);
    assert_eq!(store.usage().await.unwrap()[0].pending, Extent { deliveries: 1, bytes: 6 });
}

pub(super) async fn bounds_are_held_for_what_waits_what_is_parked_and_the_namespace(ground: &dyn Ground) {
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

pub(super) async fn a_repetition_needs_no_room(ground: &dyn Ground) {
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

pub(super) async fn what_waits_for_a_receiver_that_is_gone_is_parked(ground: &dyn Ground) {
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

pub(super) async fn lists_are_in_order_and_go_on_where_they_ended(ground: &dyn Ground) {
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

pub(super) async fn usage_counts_what_is_there(ground: &dyn Ground) {
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

pub(super) async fn the_next_due_is_told(ground: &dyn Ground) {
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

pub(super) async fn expectations_are_kept_until_they_are_met(ground: &dyn Ground) {
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

pub(super) async fn expectations_have_a_bound(ground: &dyn Ground) {
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

pub(super) async fn an_expectation_that_is_said_again_is_another_one(ground: &dyn Ground) {
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

pub(super) async fn expectations_of_a_receiver_that_is_gone_are_parked_revived_and_forgotten(
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

pub(super) async fn tokens_are_replaced_as_a_whole(ground: &dyn Ground) {
    let store = ground.open().await;
    let token = |text: &str, minted, retired: Option<i64>| KnownToken {
        digest: digest(text),
        fingerprint: text.to_owned(),
        minted: at(minted),
        retired: retired.map(at),
    };
    assert_eq!(store.tokens(UID).await, Ok(vec![]));
    let tokens = vec![token("old", 1, Some(5)), token("new", 5, None)];
    store.set_tokens(UID, tokens.clone()).await.unwrap();
    store.set_tokens("other", vec![token("other", 9, None)]).await.unwrap();
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.tokens(UID).await, Ok(tokens));
    let newer = vec![token("new", 5, Some(9)), token("newest", 9, None)];
    store.set_tokens(UID, newer.clone()).await.unwrap();
    assert_eq!(store.tokens(UID).await, Ok(newer));
    store.set_tokens(UID, vec![]).await.unwrap();
    assert_eq!(store.tokens(UID).await, Ok(vec![]));
    assert_eq!(store.tokens("other").await.unwrap().len(), 1);
}

pub(super) async fn standstills_are_replaced_as_a_whole(ground: &dyn Ground) {
    let store = ground.open().await;
    let standstill = |began, ended: Option<i64>| Standstill { began: at(began), ended: ended.map(at) };
    assert_eq!(store.standstills(UID).await, Ok(vec![]));
    let first = Standstill { began: DateTime::UNIX_EPOCH, ended: Some(at(1)) };
    store.set_standstills(UID, vec![standstill(5, None), first]).await.unwrap();
    store.set_standstills("other", vec![standstill(7, None)]).await.unwrap();
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.standstills(UID).await, Ok(vec![first, standstill(5, None)]));
    let newer = vec![standstill(5, Some(9)), standstill(20, None)];
    store.set_standstills(UID, newer.clone()).await.unwrap();
    assert_eq!(store.standstills(UID).await, Ok(newer));
    store.set_standstills(UID, vec![]).await.unwrap();
    assert_eq!(store.standstills(UID).await, Ok(vec![]));
    assert_eq!(store.standstills("other").await, Ok(vec![standstill(7, None)]));
}

pub(super) async fn the_key_for_digests_stays_the_same(ground: &dyn Ground) {
    let store = ground.open().await;
    let key = *store.digest_key();
    assert_ne!(key, [0; 32]);
    let id = store.short_id();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    drop(store);
    let store = ground.open().await;
    assert_eq!((*store.digest_key(), store.short_id()), (key, id));
}

pub(super) async fn many_at_once_are_all_kept(ground: &dyn Ground) {
    let store = ground.open().await;
    let numbers: Vec<u8> = (0..=255).collect();
    let puts = numbers.iter().map(|number| {
        let namespace = ["a", "b", "c"][usize::from(*number) % 3];
        store.put(NewDelivery { owner: owner(namespace, "one"), ..delivery(*number) })
    });
    assert!(join_all(puts).await.iter().all(|answer| *answer == Ok(Put::Stored)));
    drop(store);
    let store = ground.open().await;
    let rows = store.list(&Selection::default(), None, 1000).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        numbers.iter().map(|n| id(*n)).collect::<Vec<_>>()
    );
    let dones = numbers.iter().map(|number| store.done(id(*number)));
    assert!(join_all(dones).await.iter().all(Result::is_ok));
    let usage = store.usage().await.unwrap();
    assert!(usage.iter().all(|usage| usage.pending == Extent::default()), "{usage:?}");
}

pub(super) async fn nothing_is_done_after_the_end(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.put(delivery(2)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.take(UID, 1, at(1), LEASE).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.done(id(1)).await, Err(StoreError::Unavailable(_))));
    // It is closed and has not failed.
    let failed = tokio::time::timeout(Duration::ZERO, store.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
    drop(store);
    let store = ground.open().await;
    assert_eq!(taken_ids(&*store, at(1)).await, [id(1)]);
    let lease_end = store.next_due(UID).await.unwrap();
    assert_eq!(lease_end, Some(at(1) + TimeDelta::seconds(60)));
}
