//! A remote subscription that has vanished.

use super::*;
use crate::api::{AdoptionPolicy, WhenMissing};

#[test]
fn one_that_a_listing_lacks_is_updated_first() {
    let mut world = World::settled();
    world.memory.absent = true;
    assert_eq!(world.rotates().0, Why::Absent);
}

#[test]
fn it_may_stall() {
    let mut world = World::vanished(-HOUR);
    world.spec().when_missing = Some(WhenMissing::Stall);
    assert_eq!(world.stalled(), Reason::RemoteMissing);
    world.listed(-10, &[("w1", &wanted())]);
    assert_eq!(world.rotates().0, Why::Absent, "it is back");
}

#[test]
fn it_is_created_again_after_two_listings_settle_apart() {
    let mut world = World::vanished(-HOUR);
    assert_eq!(world.decide(), Step::List { begun_after: at(-HOUR) }, "the first");
    world.listed(-100, &[]);
    world.memory.lacked_since = Some(at(-100));
    assert!(matches!(world.reason(), WaitReason::Settling(_)));
    assert_eq!(world.until(), Some(at(SETTLE - 100)));
    world.now = moment(SETTLE - 100);
    let second = Step::List { begun_after: at(SETTLE - 100) };
    assert_eq!(world.decide(), second);
    world.listed(SETTLE - 101, &[]);
    assert_eq!(world.decide(), second);
    world.listed(SETTLE - 100, &[]);
    assert!(matches!(world.decide(), Step::Create { .. }));
}

#[test]
fn what_lacked_it_before_it_vanished_does_not_count() {
    let mut world = World::vanished(-HOUR);
    world.memory.lacked_since = Some(at(-HOUR - 1));
    world.listed(-10, &[]);
    assert!(matches!(world.decide(), Step::List { .. }));
}

#[test]
fn it_is_updated_when_a_listing_shows_it_again() {
    let mut world = World::vanished(-HOUR);
    world.memory.lacked_since = Some(at(-HOUR));
    world.listed(-10, &[("w1", "whatever")]);
    assert_eq!(world.rotates().0, Why::Absent);
    world.listed(-HOUR - 1, &[("w1", "whatever")]);
    assert!(matches!(world.decide(), Step::List { .. }), "not by a listing from before it vanished");
}

#[test]
fn nothing_is_created_where_most_ids_are_missing() {
    let mut world = World::vanished(-HOUR);
    world.memory.lacked_since = Some(at(-HOUR));
    world.listed(-10, &[]);
    world.listing.as_mut().unwrap().mismatch = true;
    assert_eq!(world.stalled(), Reason::ProviderMismatch);
}

#[test]
fn a_match_that_somebody_else_made_meanwhile_is_not_doubled() {
    let mut world = World::vanished(-HOUR);
    world.memory.lacked_since = Some(at(-HOUR));
    world.listed(-10, &[("w2", &wanted())]);
    assert_eq!(world.stalled(), Reason::AlreadyExists);
    world.spec().adoption_policy = Some(AdoptionPolicy::Matching);
    assert_eq!(world.rotates().0, Why::Adopting);
}

#[test]
fn without_a_listing_the_settling_time_alone_decides() {
    let mut world = World::vanished(-10);
    world.list_forbidden = true;
    assert_eq!(world.until(), Some(at(SETTLE - 10)));
    world.now = moment(SETTLE - 10);
    assert!(matches!(world.decide(), Step::Create { .. }));
}

#[test]
fn a_clock_set_back_neither_ends_nor_repeats_the_search() {
    let mut world = World::vanished(HOUR);
    world.memory.listing_after = Some(at(-10));
    world.listed(-20, &[("w1", &wanted())]);
    let search = Step::List { begun_after: at(-10) };
    assert_eq!(world.decide(), search, "that listing is from before");
    world.listed(-5, &[]);
    world.memory.lacked_since = Some(at(-5));
    assert_eq!(world.until(), Some(at(SETTLE - 5)));
}

#[test]
fn while_it_settles_the_end_of_the_token_is_shown() {
    let mut world = World::vanished(-10);
    world.list_forbidden = true;
    world.status.token_expiration_time = Some(at(50));
    assert_eq!(world.until(), Some(at(50)));
}
