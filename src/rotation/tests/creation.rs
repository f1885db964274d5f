//! A create whose outcome is not known.

use super::super::target::former;
use super::*;
use crate::api::{AdoptionPolicy, WhenMissing};

fn found(world: &World) -> String {
    match world.decide() {
        Step::Rotate { id, ownership: Ownership::Created, why: Why::Adopting, .. } => id,
        step => panic!("{step:?} takes nothing of ours over"),
    }
}

#[test]
fn the_provider_gets_its_time_to_settle() {
    let mut world = World::creating(-10);
    world.listed(-5, &[]);
    assert!(matches!(world.reason(), WaitReason::Settling(_)));
    assert_eq!(world.until(), Some(at(SETTLE - 10)));
}

#[test]
fn only_a_listing_begun_after_that_says_what_became_of_it() {
    let mut world = World::creating(-SETTLE);
    let needed = Step::List { begun_after: at(0) };
    assert_eq!(world.decide(), needed);
    world.listed(-1, &[]);
    assert_eq!(world.decide(), needed);
    world.listed(0, &[]);
    assert!(matches!(world.decide(), Step::Create { target, .. } if target == wanted()));
}

#[test]
fn what_is_found_by_the_recorded_or_the_current_target_is_ours() {
    for target in [RECORDED.to_owned(), wanted()] {
        let mut world = World::creating(-HOUR);
        world.spec().adoption_policy = Some(AdoptionPolicy::Never);
        world.listed(-10, &[("made", &target), ("other", "something else")]);
        assert_eq!(found(&world), "made");
        world.claims.0.insert("made".into(), key("owner"));
        assert!(matches!(world.decide(), Step::Create { .. }), "another object's is not ours");
    }
}

#[test]
fn several_are_ambiguous() {
    let mut world = World::creating(-HOUR);
    world.listed(-10, &[("one", RECORDED), ("two", &wanted())]);
    assert_eq!(world.stalled(), Reason::Ambiguous);
}

#[test]
fn without_a_listing_the_outcome_stays_unknown() {
    let mut no_operation = World::creating(-HOUR);
    no_operation.profile.can_list = false;
    assert_eq!(no_operation.stalled(), Reason::CreationOutcomeUnknown);
    let mut forbidden = World::creating(-HOUR);
    forbidden.list_forbidden = true;
    forbidden.listed(-10, &[]);
    assert_eq!(forbidden.stalled(), Reason::CreationOutcomeUnknown);
}

#[test]
fn nothing_is_created_again_where_most_ids_are_missing() {
    let mut world = World::creating(-HOUR);
    world.listed(-10, &[]);
    world.listing.as_mut().unwrap().mismatch = true;
    assert_eq!(world.stalled(), Reason::ProviderMismatch);
}

#[test]
fn a_record_from_a_clock_that_was_set_back_since_settles_from_the_start_of_the_process() {
    let mut world = World::creating(HOUR);
    world.memory.listing_after = Some(at(-10));
    assert_eq!(world.until(), Some(at(SETTLE - 10)));
    world.memory.listing_after = Some(at(HOUR));
    assert_eq!(world.until(), Some(at(SETTLE)), "nothing is known");
}

#[test]
fn it_is_found_out_before_a_vanished_remote_is_taken_for_back() {
    let mut world = World::vanished(-HOUR);
    world.opened(RECORDED, -10);
    world.listed(-5, &[("w1", &wanted())]);
    assert!(matches!(world.reason(), WaitReason::Settling(_)));
    world.opened(RECORDED, -2 * SETTLE);
    world.listed(-5, &[("w1", &wanted()), ("w2", RECORDED)]);
    assert_eq!(world.stalled(), Reason::Ambiguous);
    world.listed(-5, &[("w2", RECORDED)]);
    assert_eq!(found(&world), "w2");
}

#[test]
fn it_is_not_repeated_when_a_vanished_remote_is_to_stall() {
    let mut world = World::vanished(-HOUR);
    world.spec().when_missing = Some(WhenMissing::Stall);
    world.opened(RECORDED, -2 * SETTLE);
    world.listed(-5, &[]);
    assert_eq!(world.stalled(), Reason::RemoteMissing);
    world.listed(-5, &[("w2", RECORDED)]);
    assert_eq!(found(&world), "w2");
}

/// Its record says one digest of action and URL, as earlier releases wrote it.
fn of_an_earlier_release(action: &str, listed: &[(&str, Listed)]) -> World {
    let mut world = World::creating(-HOUR);
    world.opened(&format!("{:016x}", former(Some(action), URL)), -HOUR);
    let remotes = listed.iter().map(|(id, listed)| ((*id).to_owned(), *listed)).collect();
    world.listing = Some(ListingView { begun: at(-10), remotes, mismatch: false });
    world
}

#[test]
fn the_record_of_an_earlier_release_finds_what_that_has_made() {
    let made = Listed::new(Some("job.closed"), Some(URL), None);
    let other = Listed::new(Some("job.archived"), Some(URL), None);
    let world = of_an_earlier_release("job.closed", &[("made", made), ("other", other)]);
    assert_eq!(found(&world), "made", "although something else is wanted now");
}

#[test]
fn what_shows_no_action_may_be_what_an_earlier_release_made_of_another_one() {
    let elsewhere = Listed::new(None, Some("https://elsewhere.example.com/"), None);
    let edited = of_an_earlier_release("job.closed", &[("unclear", elsewhere)]);
    assert_eq!(edited.stalled(), Reason::CreationOutcomeUnknown);
    // Nothing was edited since: what leads elsewhere is another one.
    let same = of_an_earlier_release("job.published", &[("unclear", elsewhere)]);
    assert!(matches!(same.decide(), Step::Create { .. }));
}
