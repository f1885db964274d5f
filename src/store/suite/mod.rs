//! What every engine of the store has to do, once for all of them.
//!
//! An engine brings a [`Ground`], on which a store can be opened again and again, and calls [`suite!`].

mod bounds;
mod expectations;
mod lists;
mod parked;
mod repeated;
mod taking;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use super::*;

pub(super) use self::bounds::*;
pub(super) use self::expectations::*;
pub(super) use self::lists::*;
pub(super) use self::parked::*;
pub(super) use self::repeated::*;
pub(super) use self::taking::*;
pub(super) use self::whole::*;

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
