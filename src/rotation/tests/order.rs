//! The order of the rules: which one wins, and what it keeps from happening.

use super::super::claims::Claimant;
use super::*;

#[test]
fn nothing_is_done_while_all_is_well() {
    let world = World::settled();
    assert_eq!(world.reason(), WaitReason::Settled);
    assert_eq!(world.until(), Some(at(15 * HOUR)), "until it is due");
}

#[test]
fn a_deletion_comes_before_suspension_and_makes_no_call_then() {
    let mut world = World::deleted(-5);
    world.spec().suspend = Some(true);
    assert!(matches!(world.decide(), Step::Release { orphaned: Some(_) }));
}

#[test]
fn a_deletion_comes_before_a_missing_source_and_a_rival() {
    let mut world = World::deleted(-5);
    world.source_known = Known::Not;
    world.rival = Some(key("rival"));
    assert_eq!(world.decide(), Step::Delete { id: "w1".into() });
}

#[test]
fn suspension_makes_no_call_and_is_looked_at_when_the_token_ends() {
    for of_provider in [false, true] {
        let mut world = World::needy();
        world.asked(0);
        world.provider_suspended = of_provider;
        world.spec().suspend = Some(!of_provider);
        assert_eq!(world.reason(), WaitReason::Suspended);
        assert_eq!(world.until(), Some(at(23 * HOUR)));
        world.now = moment(24 * HOUR);
        assert_eq!(world.until(), None, "once");
    }
}

#[test]
fn without_a_valid_version_nothing_is_done() {
    let mut world = World::needy();
    world.spec = None;
    assert_eq!(world.reason(), WaitReason::Invalid);
    assert_eq!(world.until(), Some(at(23 * HOUR)));
}

#[test]
fn what_it_refers_to_is_waited_for() {
    for (provider, source, expected) in [
        (Known::Not, Known::Usable, Reason::ProviderNotFound),
        (Known::Invalid, Known::Usable, Reason::InvalidSpec),
        (Known::Usable, Known::Not, Reason::TokenSourceNotFound),
        (Known::Usable, Known::Invalid, Reason::InvalidSpec),
    ] {
        let mut world = World::needy();
        (world.provider, world.source_known) = (provider, source);
        assert!(
            matches!(world.reason(), WaitReason::Awaiting(reason, _) if reason == expected),
            "{provider:?}, {source:?}"
        );
    }
}

#[test]
fn the_better_claim_is_waited_for_and_named() {
    let mut world = World::needy();
    world.rival = Some(key("rival"));
    assert_eq!(world.reason(), WaitReason::Conflict(Claimant::Named(key("rival")), Some("w1".into())));
    world.status.webhook_id = None;
    assert_eq!(world.reason(), WaitReason::Conflict(Claimant::Named(key("rival")), None));
}

#[test]
fn a_recorded_id_is_not_looked_for_at_another_origin() {
    let mut world = World::needy();
    world.status.webhook_origin = Some("https://elsewhere.example.com".into());
    assert_eq!(world.stalled(), Reason::ProviderMismatch);
    world.spec().webhook_id = Some("w1".into());
    assert_eq!(world.stalled(), Reason::ProviderMismatch, "the same id");
    world.spec().webhook_id = Some("w2".into());
    assert_eq!(world.rotates().0, Why::Adopting, "an id of the new origin");
}

#[test]
fn nothing_skips_a_hold_back() {
    let held = |mut world: World| {
        world.held_back = Some(limited(at(40)));
        assert_eq!(world.until(), Some(at(40)));
        assert!(matches!(
            world.reason(),
            WaitReason::BackingOff(Reason::RateLimited, message) if !message.is_empty()
        ));
    };
    held(World::needy());
    held(World::deleted(-5));
    held(World::vanished(-5));
    let mut asked = World::settled();
    asked.asked(-1);
    held(asked);
    let mut create = World::fresh();
    create.listed(-10, &[]);
    held(create);
}

#[test]
fn a_hold_back_says_nothing_of_what_needs_no_call() {
    let mut world = World::settled();
    world.held_back = Some(limited(at(40)));
    assert_eq!(world.reason(), WaitReason::Settled);
    assert_eq!(world.until(), Some(at(15 * HOUR)));
    world.status.webhook_origin = Some("https://elsewhere.example.com".into());
    assert_eq!(world.stalled(), Reason::ProviderMismatch);
}

#[test]
fn a_pause_is_looked_at_when_the_token_ends() {
    let mut world = World::needy();
    world.held_back = Some(HeldBack { asked: false, ..limited(at(24 * HOUR)) });
    assert_eq!(world.until(), Some(at(23 * HOUR)));
}

#[test]
fn a_pause_that_was_asked_for_and_outlasts_the_token_is_interrupted_by_one_last_attempt() {
    let mut world = World::needy();
    world.held_back = Some(limited(at(24 * HOUR)));
    let last = world.until().unwrap();
    assert!(at(23 * HOUR) - TimeDelta::minutes(2) < last && last < at(23 * HOUR), "{last}");
    world.now = moment((last - at(0)).num_seconds());
    assert!(is_call(&world.decide()));
    world.memory.last_attempt = world.status.token_expiration_time;
    assert_eq!(world.until(), Some(at(23 * HOUR)), "one, and no more for this token");
}

#[test]
fn there_is_no_last_attempt_where_nothing_is_to_be_saved() {
    let mut gone = World::deleted(-5);
    gone.held_back = Some(limited(at(24 * HOUR)));
    let mut fresh = World::fresh();
    fresh.listed(-10, &[]);
    fresh.held_back = Some(limited(at(24 * HOUR)));
    for mut world in [gone, fresh] {
        world.now = moment(24 * HOUR - 30);
        assert!(!is_call(&world.decide()));
    }
}

#[test]
fn a_failed_attempt_is_waited_for() {
    let mut world = World::needy();
    world.failed(20);
    assert_eq!(world.reason(), WaitReason::BackingOff(Reason::ProviderUnavailable, "it failed".into()));
    assert_eq!(world.until(), Some(at(20)));
    world.now = moment(20);
    assert_eq!(world.rotates().0, Why::Document);
}

#[test]
fn a_failed_attempt_is_not_waited_for_when_its_inputs_changed() {
    let failed = || {
        let mut world = World::needy();
        world.failed(20);
        world
    };
    let mut asked = failed();
    asked.asked(0);
    assert!(matches!(asked.decide(), Step::Rotate { .. }), "a request");
    let mut edited = failed();
    edited.identity.generation = 2;
    assert!(matches!(edited.decide(), Step::Rotate { .. }), "an edit");
    let mut other = failed();
    other.digest = "changed again".into();
    assert!(matches!(other.decide(), Step::Rotate { .. }), "a document");
    asked.held_back = Some(limited(at(40)));
    assert!(!is_call(&asked.decide()), "a hold-back is not skipped");
}

#[test]
fn a_clock_set_back_ends_a_wait() {
    let mut world = World::needy();
    world.failed(20);
    world.now = moment(-600);
    assert!(matches!(world.decide(), Step::Rotate { .. }));
}

#[test]
fn reasons_to_rotate_in_their_order() {
    let mut world = World::settled();
    let mut expect = |change: fn(&mut World), why| {
        change(&mut world);
        assert_eq!(world.rotates().0, why);
    };
    expect(|world| world.now = moment(16 * HOUR), Why::Due);
    expect(|world| world.memory.resend = Some(wait(-20, -1)), Why::Unsettled);
    expect(|world| world.source.split = true, Why::Split);
    expect(|world| world.source.newest = Some(NEW.into()), Why::TokenMoved);
    expect(|world| world.memory.secrets_changed = true, Why::Secrets);
    expect(|world| world.memory.absent = true, Why::Absent);
    expect(|world| world.memory.drift = Some(super::super::facts::Drift::Seen), Why::Drift);
    expect(|world| world.asked(0), Why::Manual);
    expect(|world| world.digest = "changed".into(), Why::Document);
}

#[test]
fn drift_is_mended_once() {
    use super::super::facts::{Difference, Drift};
    let mut world = World::settled();
    for drift in [Drift::Reapplied, Drift::Persists(Difference::Target)] {
        world.memory.drift = Some(drift);
        assert_eq!(world.reason(), WaitReason::Settled);
    }
}

#[test]
fn a_change_that_alters_nothing_sent_costs_nothing() {
    let mut world = World::settled();
    world.identity.generation = 7;
    world.spec().deletion_policy = Some(crate::api::DeletionPolicy::Delete);
    assert_eq!(world.reason(), WaitReason::Settled);
}

#[test]
fn at_the_moment_of_its_end_a_token_has_expired() {
    let mut world = World::settled();
    world.spec().suspend = Some(true);
    world.now = moment(23 * HOUR);
    assert_eq!(world.until(), None, "there is nothing more to show");
    let mut paused = World::needy();
    paused.held_back = Some(limited(at(24 * HOUR)));
    paused.now = moment(23 * HOUR);
    assert!(!is_call(&paused.decide()), "and no last attempt can save it");
}

#[test]
fn a_pause_is_over_at_its_end() {
    let mut world = World::needy();
    world.held_back = Some(limited(at(1)));
    assert_eq!(world.until(), Some(at(1)));
    world.now = moment(1);
    assert_eq!(world.rotates().0, Why::Document);
}

#[test]
fn a_pause_is_told_as_what_it_is_for() {
    let told = |reason, asked| HeldBack { until: at(40), reason, asked }.message();
    let until = super::super::time::written(at(40));
    let limited = told(Reason::RateLimited, true);
    assert!(limited.contains("429") && limited.contains(&until), "{limited}");
    let refused = told(Reason::ProviderRefusedCredentials, false);
    assert!(refused.contains("401") && refused.contains("Secret"), "{refused}");
    let asked = told(Reason::ProviderUnavailable, true);
    assert!(asked.contains("Retry-After") && asked.contains(&until), "{asked}");
    let outage = told(Reason::ProviderUnavailable, false);
    assert!(outage.contains("does not answer") && outage.contains("spec.baseUrl"), "{outage}");
}
