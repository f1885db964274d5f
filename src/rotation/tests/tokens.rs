//! Which token: sources and their members.

use super::*;

#[test]
fn a_member_takes_the_newer_token_in_hand() {
    let mut world = World::settled();
    world.holding(NEW, -5);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
}

#[test]
fn a_newer_token_whose_own_time_has_come_is_replaced_and_applied_when_that_fails() {
    let mut world = World::settled();
    world.holding(NEW, -20 * HOUR);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Mint));
    world.source.wait = Some(wait(-1, 9));
    world.source.failing = Some((Reason::TokenSourceUnavailable, "503".into()));
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
}

#[test]
fn a_dead_token_is_never_taken() {
    let mut world = World::settled();
    world.holding(NEW, -25 * HOUR);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Mint));
    world.holding(NEW, -5);
    world.now.boot += Duration::from_secs(25 * 3_600);
    assert_eq!(world.rotates().1, TokenChoice::Mint, "by boot time");
}

#[test]
fn a_due_member_takes_what_another_has_minted() {
    let mut world = World::settled();
    world.now = moment(16 * HOUR);
    world.holding(OLD, -HOUR);
    assert_eq!(world.rotates(), (Why::Due, TokenChoice::Mint));
    world.holding(NEW, 15 * HOUR);
    assert_eq!(world.rotates().1, TokenChoice::Take);
}

#[test]
fn a_changed_document_takes_the_token_in_hand() {
    let mut world = World::needy();
    world.holding(OLD, -HOUR);
    assert_eq!(world.rotates(), (Why::Document, TokenChoice::Take));
}

#[test]
fn after_a_restart_no_token_is_held_and_one_is_minted_when_it_is_needed() {
    assert_eq!(World::settled().reason(), WaitReason::Settled);
    assert_eq!(World::needy().rotates(), (Why::Document, TokenChoice::Mint));
}

#[test]
fn a_split_source_is_due_now() {
    let mut world = World::settled();
    world.source.newest = None;
    world.source.split = true;
    assert_eq!(world.rotates(), (Why::Split, TokenChoice::Mint));
}

#[test]
fn no_mint_comes_sooner_than_the_spacing_whatever_asks() {
    let mut world = World::settled();
    world.holding(OLD, -10);
    world.source.wait = Some(wait(-10, 20));
    world.asked(-5);
    assert_eq!(world.reason(), WaitReason::Asked { not_before: at(20) });
    assert_eq!(world.until(), Some(at(20)));
    world.now = moment(20);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Mint));
}

#[test]
fn a_failing_source_is_waited_for_and_says_why() {
    let mut world = World::settled();
    world.now = moment(16 * HOUR);
    world.source.wait = Some(wait(16 * HOUR - 1, 16 * HOUR + 9));
    world.source.failing = Some((Reason::TokenSourceRefused, "401".into()));
    assert_eq!(world.reason(), WaitReason::BackingOff(Reason::TokenSourceRefused, "401".into()));
    assert_eq!(world.until(), Some(at(16 * HOUR + 9)));
}

#[test]
fn an_unknown_lifetime_stalls_before_the_first_create_only() {
    let mut world = World::fresh();
    world.listed(-10, &[]);
    world.source.held = None;
    world.source.wait = Some(wait(-1, HOUR));
    world.source.failing = Some((Reason::LifetimeUnknown, "set assumedLifetime".into()));
    assert_eq!(world.stalled(), Reason::LifetimeUnknown);
    world.status = World::needy().status;
    world.digest = "changed".into();
    assert!(matches!(world.reason(), WaitReason::BackingOff(Reason::LifetimeUnknown, _)));
}

#[test]
fn a_manual_request_is_satisfied_only_by_a_token_minted_after_it_was_seen() {
    let mut world = World::settled();
    world.asked(-5);
    world.holding(OLD, -6);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Mint));
    world.holding(NEW, -6);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Mint));
    world.holding(NEW, -5);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Take));
}

#[test]
fn a_manual_request_is_handled_when_the_source_was_asked_and_renewed_nothing() {
    let mut world = World::settled();
    world.asked(-5);
    world.holding(OLD, -HOUR);
    world.source.held.as_mut().unwrap().confirmed = at(-1);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Take));
}

#[test]
fn a_manual_request_reads_a_polled_source_again() {
    let mut world = World::settled();
    world.source.polled = true;
    world.holding(OLD, -HOUR);
    world.asked(-5);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Mint));
    world.source.held.as_mut().unwrap().confirmed = at(-1);
    assert_eq!(world.rotates(), (Why::Manual, TokenChoice::Take));
}

#[test]
fn a_handled_request_is_not_carried_out_again() {
    let mut world = World::settled();
    world.asked(-5);
    world.status.last_handled_rotate_request = Some("please".into());
    assert_eq!(world.reason(), WaitReason::Settled);
    // It is compared in the form in which it is recorded.
    world.identity.rotate_requested = Some("please\n".into());
    world.memory.request_seen = Some(("please\n".into(), at(-5)));
    assert_eq!(world.reason(), WaitReason::Settled);
}

#[test]
fn a_request_that_nobody_noted_is_not_carried_out_in_a_loop() {
    let mut world = World::settled();
    world.identity.rotate_requested = Some("please".into());
    assert_eq!(world.reason(), WaitReason::Settled);
    world.memory.request_seen = Some(("an older one".into(), at(-5)));
    assert_eq!(world.reason(), WaitReason::Settled);
}

#[test]
fn a_published_token_is_read_before_anything_is_minted() {
    let mut world = World::needy();
    world.source.unread = true;
    assert!(matches!(world.reason(), WaitReason::Settling(_)));
}

#[test]
fn a_published_token_is_left_for_its_readers_for_a_while() {
    let mut world = World::settled();
    world.holding(NEW, -5);
    world.source.apply_after = Some(wait(0, 120));
    assert!(matches!(world.reason(), WaitReason::Settling(_)));
    assert_eq!(world.until(), Some(at(120)));
    world.source.failing = Some((Reason::Conflict, "not ours".into()));
    assert!(
        matches!(world.reason(), WaitReason::BackingOff(Reason::Conflict, _)),
        "a Secret that cannot be written is shown"
    );
    world.now = moment(120);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
}

#[test]
fn publishing_never_outlasts_the_token_in_place() {
    let mut world = World::settled();
    world.now = moment(23 * HOUR - 100);
    world.holding(NEW, 23 * HOUR - 110);
    world.source.apply_after = Some(wait(23 * HOUR - 110, 24 * HOUR));
    assert_eq!(world.until(), Some(at(23 * HOUR - 40)), "expiry - safety");
    world.now = moment(23 * HOUR - 40);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
}

#[test]
fn a_token_in_place_is_sent_again_without_a_pause() {
    let mut world = World::needy();
    world.holding(OLD, -5);
    world.source.apply_after = Some(wait(0, 120));
    assert_eq!(world.rotates(), (Why::Document, TokenChoice::Take));
}

#[test]
fn a_token_is_left_for_the_gate_for_a_while() {
    for world in [World::settled(), World::needy()] {
        let mut world = world;
        // An edit may make deliveries come in where the token in place is not known.
        world.holding(if world.digest == DIGEST { NEW } else { OLD }, -5);
        world.source.for_gates = Some(wait(0, 120));
        assert!(matches!(world.reason(), WaitReason::Settling(_)));
        assert_eq!(world.until(), Some(at(120)));
        world.source.apply_after = Some(wait(0, 60));
        assert_eq!(world.until(), Some(at(120)), "its other readers have less time");
        world.now = moment(120);
        assert_eq!(world.rotates().1, TokenChoice::Take);
    }
}

#[test]
fn the_gate_is_never_waited_for_longer_than_the_token_in_place_lives() {
    let mut world = World::settled();
    world.now = moment(23 * HOUR - 100);
    world.holding(NEW, 23 * HOUR - 110);
    world.source.for_gates = Some(wait(23 * HOUR - 110, 24 * HOUR));
    assert_eq!(world.until(), Some(at(23 * HOUR - 40)), "expiry - safety");
    world.now = moment(23 * HOUR - 40);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
}

#[test]
fn a_token_that_the_gate_cannot_know_is_replaced() {
    let mut world = World::settled();
    world.gate_lacks = true;
    assert_eq!(world.rotates(), (Why::Gate, TokenChoice::Mint));
    world.source.wait = Some(wait(-1, 9));
    assert_eq!((world.until(), world.reason()), (Some(at(9)), WaitReason::Settled), "with patience");
}

#[test]
fn a_token_whose_time_has_come_on_boot_time_is_not_brought_again() {
    let mut world = World::settled();
    world.holding(OLD, -HOUR);
    world.memory.minted_boot = Some(moment(-HOUR).boot);
    world.now = Moment { wall: at(14 * HOUR), boot: moment(15 * HOUR).boot };
    assert_eq!(world.rotates(), (Why::Due, TokenChoice::Mint));
}

#[test]
fn at_the_moment_when_it_is_due_a_held_token_is_replaced() {
    let mut world = World::settled();
    world.holding(NEW, 1 - 16 * HOUR);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Take));
    world.holding(NEW, -16 * HOUR);
    assert_eq!(world.rotates(), (Why::TokenMoved, TokenChoice::Mint));
}

#[test]
fn while_no_mint_can_be_had_a_change_is_applied_with_the_token_in_place() {
    let mut world = World::needy();
    world.holding(OLD, -20 * HOUR);
    world.source.wait = Some(wait(-1, 9));
    assert_eq!(world.rotates(), (Why::Document, TokenChoice::Take));
}

#[test]
fn without_any_token_the_first_one_is_waited_for() {
    let mut world = World::fresh();
    world.listed(-10, &[]);
    world.source.held = None;
    world.source.wait = Some(wait(-1, 9));
    assert_eq!(
        (world.until(), world.reason()),
        (Some(at(9)), WaitReason::Settling("the source was asked a moment ago".into()))
    );
}

#[test]
fn a_token_that_expired_before_it_could_be_sent_is_told_to_live_too_short() {
    let mut world = World::needy();
    let held = |life: i64| {
        Some(HeldToken {
            fingerprint: NEW.into(),
            minted: moment(-10),
            expires: Some(at(life - 10)),
            confirmed: at(-10),
        })
    };
    world.source.wait = Some(wait(-1, 9));
    world.source.held = held(4);
    assert!(matches!(world.reason(), WaitReason::BackingOff(Reason::LifetimeTooShort, _)));
    world.source.held = held(10);
    assert_eq!(world.reason(), WaitReason::Settled, "long enough, and over");
    world.source.held = held(4);
    world.source.failing = Some((Reason::TokenSourceUnavailable, "503".into()));
    assert!(matches!(world.reason(), WaitReason::BackingOff(Reason::TokenSourceUnavailable, _)));
}
