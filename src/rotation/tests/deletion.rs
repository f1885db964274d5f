//! Rule 1.

use super::*;
use crate::api::DeletionPolicy;

const RELEASED: Step = Step::Release { orphaned: None };

fn orphaned(world: &World) -> String {
    match world.decide() {
        Step::Release { orphaned: Some(why) } => why,
        step => panic!("{step:?} leaves nothing behind"),
    }
}

#[test]
fn orphan_leaves_the_remote() {
    let mut world = World::deleted(-5);
    world.spec().deletion_policy = Some(DeletionPolicy::Orphan);
    assert_eq!(world.decide(), RELEASED);
    world.spec().deletion_policy = None;
    assert_eq!(world.decide(), RELEASED, "the default");
}

#[test]
fn delete_deletes_the_id_on_record_and_no_other() {
    let mut world = World::deleted(-5);
    world.listed(-3, &[("other", &wanted())]);
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
    world.status.webhook_id = None;
    world.spec().webhook_id = Some("given".into());
    assert_eq!(world.decide(), RELEASED, "a given id that was never ours");
}

#[test]
fn where_there_is_no_deletion_time_the_process_remembers_it() {
    let mut world = World::deleted(-5);
    world.identity.deleted = None;
    world.memory.deleting_since = Some(at(-5));
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
}

#[test]
fn what_another_object_owns_is_not_deleted() {
    let mut world = World::deleted(-5);
    world.claims.0.insert("w1".into(), key("owner"));
    assert_eq!(world.decide(), RELEASED);
}

#[test]
fn the_remote_is_handed_over_to_who_waits_for_it_whatever_the_policy() {
    let mut world = World::deleted(-5);
    world.heir = Some(key("heir"));
    assert_eq!(world.decide(), Step::HandOver);
    world.spec().deletion_policy = Some(DeletionPolicy::Orphan);
    world.spec().suspend = Some(true);
    world.held_back = Some(limited(at(60)));
    assert_eq!(world.decide(), Step::HandOver, "it is no call");
    world.status.webhook_id = None;
    world.opened(RECORDED, -10);
    assert_eq!(world.decide(), Step::HandOver, "an open create may be all there is");
    world.status.creation = None;
    assert_eq!(world.decide(), RELEASED);
}

#[test]
fn what_is_left_behind_although_the_policy_says_delete_is_told() {
    let mut forced = World::deleted(-5);
    forced.identity.force_orphan = true;
    assert!(orphaned(&forced).contains("force-orphan"));
    let mut suspended = World::deleted(-5);
    suspended.spec().suspend = Some(true);
    assert!(orphaned(&suspended).contains("suspended"));
    let mut suspended = World::deleted(-5);
    suspended.provider_suspended = true;
    assert!(orphaned(&suspended).contains("suspended"));
    let mut impossible = World::deleted(-5);
    impossible.profile.can_delete = false;
    assert!(orphaned(&impossible).contains("no delete operation"));
    let mut unreadable = World::deleted(-5);
    unreadable.spec = None;
    assert!(orphaned(&unreadable).contains("no valid version"));
    unreadable.identity.has_finalizer = false;
    assert_eq!(unreadable.decide(), RELEASED, "nobody asked for more");
}

#[test]
fn a_provider_that_cannot_be_used_is_waited_for_until_the_grace_ends() {
    for provider in [Known::Not, Known::Invalid] {
        let mut world = World::deleted(-5);
        world.provider = provider;
        assert!(matches!(world.reason(), WaitReason::Awaiting(..)));
        assert_eq!(world.until(), Some(at(595)));
        world.now = moment(595);
        assert!(!orphaned(&world).is_empty());
    }
}

#[test]
fn nothing_is_deleted_at_another_origin() {
    let mut world = World::deleted(-5);
    world.status.webhook_origin = Some("https://elsewhere.example.com".into());
    assert!(matches!(world.reason(), WaitReason::Awaiting(Reason::ProviderMismatch, _)));
    world.now = moment(595);
    assert!(orphaned(&world).contains("another origin"));
}

#[test]
fn whatever_keeps_a_deletion_from_ending_is_waited_for_until_the_grace_ends() {
    for reason in [
        Reason::ProviderUnavailable,
        Reason::ProviderRefusedDocument,
        Reason::ProviderRefusedCredentials,
        Reason::SecretNotFound,
        Reason::DestinationNotAllowed,
        Reason::InternalError,
    ] {
        for next_attempt in [300, HOUR] {
            let mut world = World::deleted(-5);
            world.failed(next_attempt);
            world.memory.failing = Some((reason, "the delete was answered so".into()));
            assert_eq!(world.until(), Some(at(next_attempt.min(595))), "{reason}");
            world.now = moment(595);
            assert_eq!(orphaned(&world), "the delete was answered so", "{reason}");
        }
    }
}

#[test]
fn a_pause_of_all_calls_holds_a_deletion_up_until_the_grace_ends() {
    for reason in [Reason::RateLimited, Reason::ProviderRefusedCredentials, Reason::ProviderUnavailable] {
        for asked in [true, false] {
            let mut world = World::deleted(-5);
            world.held_back = Some(HeldBack { until: at(HOUR), reason, asked });
            assert!(matches!(world.reason(), WaitReason::BackingOff(shown, _) if shown == reason));
            assert_eq!(world.until(), Some(at(595)), "{reason}: the grace ends");
            world.now = moment(595);
            assert!(orphaned(&world).contains("provider"), "{reason}");
        }
    }
}

/// The process has just begun, and some other calls of it have failed.
#[test]
fn a_deletion_that_is_found_after_its_grace_waits_for_a_short_pause_to_end() {
    let mut world = World::deleted(-2 * HOUR);
    world.memory.deletion_seen = Some(at(-5));
    let pause = HeldBack { until: at(2), reason: Reason::ProviderUnavailable, asked: false };
    world.held_back = Some(pause);
    assert_eq!(world.until(), Some(at(2)));
    world.held_back = Some(HeldBack { until: at(HOUR), ..pause });
    assert_eq!(world.until(), Some(at(55)));
    world.now = moment(55);
    assert!(orphaned(&world).contains("does not answer"));
}

/// As after a start of the process: the grace is over, and yet nothing has been tried.
#[test]
fn a_deletion_is_tried_once_at_least() {
    let mut world = World::deleted(-2 * HOUR);
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
    world.identity.deleted = None;
    world.failed(HOUR);
    world.identity.deleted = Some(at(-2 * HOUR));
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() }, "a rotation failed, not the deletion");
    world.failed(HOUR);
    assert_eq!(orphaned(&world), "it failed");
}

#[test]
fn an_open_create_that_cannot_be_looked_up_is_given_up_on_when_the_grace_ends() {
    let mut world = World::deleted(-5);
    world.status.webhook_id = None;
    world.opened("recorded", -HOUR);
    world.failed(HOUR);
    assert_eq!(world.until(), Some(at(595)));
    world.now = moment(595);
    assert_eq!(orphaned(&world), "it failed");
}

#[test]
fn a_back_off_from_before_the_deletion_does_not_delay_it() {
    let mut world = World::deleted(-5);
    world.identity.deleted = None;
    world.failed(HOUR);
    world.identity.deleted = Some(at(-5));
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
}

#[test]
fn while_a_deletion_waits_the_end_of_the_token_is_shown() {
    let mut world = World::deleted(-5);
    world.provider = Known::Not;
    world.status.token_expiration_time = Some(at(7));
    assert_eq!(world.until(), Some(at(7)));
}

#[test]
fn the_outcome_of_an_open_create_is_deleted() {
    let creating = |started| {
        let mut world = World::deleted(-5);
        world.status.webhook_id = None;
        world.opened(RECORDED, started);
        world
    };
    let young = creating(-10);
    assert_eq!(young.until(), Some(at(SETTLE - 10)));
    let mut old = creating(-HOUR);
    assert!(matches!(old.decide(), Step::List { .. }));
    old.listed(-10, &[("made", RECORDED)]);
    assert_eq!(old.decide(), Step::Delete { id: "made".into() });
    old.listed(-10, &[]);
    assert_eq!(old.decide(), RELEASED);
    old.listed(-10, &[("one", RECORDED), ("two", &wanted())]);
    assert!(orphaned(&old).contains("cannot be found out"));
    old.list_forbidden = true;
    assert!(
        orphaned(&old).contains("cannot be found out"),
        "a listing that is forbidden is not asked for again and again"
    );
}

#[test]
fn the_outcome_of_an_open_create_comes_before_a_vanished_id() {
    let mut world = World::deleted(-5);
    world.status.missing_since = Some(at(-2 * HOUR));
    world.opened(RECORDED, -HOUR);
    assert!(matches!(world.decide(), Step::List { .. }));
    world.listed(-10, &[("made", RECORDED)]);
    assert_eq!(world.decide(), Step::Delete { id: "made".into() });
    world.listed(-10, &[]);
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
}

#[test]
fn at_the_end_of_its_grace_a_deletion_waits_for_what_comes_next() {
    let mut paused = World::deleted(-600);
    paused.memory.deletion_seen = Some(at(-5));
    paused.held_back = Some(limited(at(HOUR)));
    assert_eq!(paused.until(), Some(at(55)), "a first chance");
    let mut settling = World::deleted(-600);
    settling.status.webhook_id = None;
    settling.opened(RECORDED, -10);
    assert_eq!(settling.until(), Some(at(SETTLE - 10)));
}

#[test]
fn a_pause_that_has_just_ended_is_no_reason_to_leave_anything_behind() {
    let mut world = World::deleted(-2 * HOUR);
    world.memory.deletion_seen = Some(at(-60));
    world.held_back = Some(limited(at(0)));
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
}

#[test]
fn no_listing_is_asked_for_where_there_is_none() {
    for forbidden in [true, false] {
        let mut world = World::deleted(-5);
        world.status.webhook_id = None;
        world.opened(RECORDED, -HOUR);
        world.list_forbidden = forbidden;
        world.profile.can_list = forbidden;
        assert!(orphaned(&world).contains("cannot be found out"));
    }
}
