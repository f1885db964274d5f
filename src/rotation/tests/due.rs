//! When it is time, on both clocks.

use super::*;

#[test]
fn due_by_the_wall_clock() {
    let mut world = World::settled();
    world.now = moment(15 * HOUR - 1);
    assert_eq!(world.reason(), WaitReason::Settled);
    world.now = moment(15 * HOUR);
    assert_eq!(world.rotates(), (Why::Due, TokenChoice::Mint));
}

#[test]
fn due_by_boot_time_although_the_wall_clock_was_set_back() {
    let mut world = World::settled();
    world.memory.minted_boot = Some(moment(-HOUR).boot);
    world.now = Moment { wall: at(14 * HOUR), boot: moment(15 * HOUR).boot };
    assert_eq!(world.rotates(), (Why::Due, TokenChoice::Mint));
    world.now.boot -= Duration::from_secs(60);
    assert_eq!(
        world.until(),
        Some(at(14 * HOUR + 60)),
        "what is left is read off the clock that says so first"
    );
}

#[test]
fn a_clock_set_back_before_the_mint_makes_it_due_once() {
    let mut world = World::settled();
    world.now = moment(-2 * HOUR);
    assert_eq!(world.rotates(), (Why::Due, TokenChoice::Mint));
    world.holding(NEW, -2 * HOUR);
    world.source.wait = Some(wait(-2 * HOUR, 30 - 2 * HOUR));
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
    world.status.token_fingerprint = Some(NEW.into());
    world.status.token_minted_time = Some(at(-2 * HOUR));
    world.status.token_expiration_time = Some(at(22 * HOUR));
    assert_eq!(world.reason(), WaitReason::Settled);
}

#[test]
fn the_next_look_is_when_it_is_due_or_a_resend_or_a_check_is() {
    let mut world = World::settled();
    world.memory.duplicate_check = Some(at(500));
    assert_eq!(world.until(), Some(at(500)));
    world.memory.resend = Some(wait(-1, 19));
    assert_eq!(world.until(), Some(at(19)));
    world.memory.resend = None;
    world.memory.duplicate_check = Some(at(-1));
    assert_eq!(world.until(), Some(at(15 * HOUR)), "never in the past");
}

#[test]
fn a_source_that_is_read_is_never_due() {
    let mut world = World::settled();
    world.source.polled = true;
    world.now = moment(20 * HOUR);
    assert_eq!(world.reason(), WaitReason::Settled);
    assert_eq!(world.until(), Some(at(23 * HOUR)), "at expiry");
    world.holding(NEW, 0);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
}

#[test]
fn a_token_without_an_end_is_due_at_a_source_that_mints() {
    let mut world = World::settled();
    world.status.token_expiration_time = None;
    assert_eq!(world.rotates(), (Why::Due, TokenChoice::Mint));
    world.source.polled = true;
    assert_eq!(world.reason(), WaitReason::Settled);
    assert_eq!(world.until(), None);
}

#[test]
fn an_older_request_that_may_land_late_is_overwritten_after_two_timeouts() {
    let mut world = World::settled();
    world.memory.resend = Some(decide::resend_wait(world.now, world.profile.timeout));
    assert_eq!(world.until(), Some(at(20)));
    world.now = moment(20);
    assert_eq!(world.rotates().0, Why::Unsettled);
}

#[test]
fn the_deadline_is_the_mint_where_a_mint_ends_the_older_token() {
    let mut world = World::settled();
    world.holding(NEW, -5);
    let deadline =
        |world: &World| world.with_subject(|subject, _| decide::deadline(world.now, subject, &world.source));
    assert_eq!(deadline(&world), at(23 * HOUR));
    world.source.revokes_previous = true;
    assert_eq!(deadline(&world), at(-5));
    world.status.token_fingerprint = Some(NEW.into());
    assert_eq!(deadline(&world), at(23 * HOUR), "it carries the newest");
}

#[test]
fn a_check_whose_time_has_come_is_not_waited_for() {
    let mut world = World::settled();
    world.memory.duplicate_check = Some(at(0));
    assert_eq!(world.until(), Some(at(15 * HOUR)));
}

#[test]
fn at_the_moment_of_its_mint_nothing_is_due() {
    let mut world = World::settled();
    world.now = moment(-HOUR);
    assert_eq!(world.reason(), WaitReason::Settled);
}
