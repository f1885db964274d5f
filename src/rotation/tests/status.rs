//! What is recorded.

use super::super::status::{self, Rotated};
use super::*;

fn held() -> HeldToken {
    let mut world = World::settled();
    world.holding(NEW, -5);
    world.source.held.unwrap()
}

fn rotated(before: &SubscriptionStatus, request: Option<&str>) -> SubscriptionStatus {
    let outcome = Rotated {
        id: "w2",
        origin: ORIGIN,
        ownership: Ownership::Adopted,
        held: &held(),
        digest: "changed",
        secrets: Some("secrets".into()),
        handled_request: request,
        at: at(3),
    };
    status::rotated(before, &outcome)
}

#[test]
fn a_rotation_is_recorded_with_everything_it_settles() {
    let mut before = World::vanished(-HOUR).status;
    before.creation = World::creating(-10).status.creation;
    before.webhook_origin = Some("https://elsewhere.example.com".into());
    before = status::failed(&before, 3, Reason::RateLimited, "inputs", at(0), at(9));
    let after = rotated(&before, Some("please"));
    assert_eq!((after.failures, after.creation, after.missing_since), (None, None, None));
    assert_eq!(after.webhook_id.as_deref(), Some("w2"));
    assert_eq!(after.webhook_origin.as_deref(), Some(ORIGIN));
    assert_eq!(after.ownership, Some(Ownership::Adopted));
    assert_eq!(after.token_fingerprint.as_deref(), Some(NEW));
    assert_eq!(after.token_minted_time, Some(at(-5)));
    assert_eq!(after.token_expiration_time, Some(at(24 * HOUR - 5)));
    assert_eq!(after.last_rotated_time, Some(at(3)));
    assert_eq!(after.applied_digest.as_deref(), Some("changed"));
    assert_eq!(after.applied_secrets.as_deref(), Some("secrets"));
    assert_eq!(after.last_handled_rotate_request.as_deref(), Some("please"));
    assert_eq!(rotated(&World::settled().status, None).last_handled_rotate_request, None);
}

#[test]
fn a_request_that_was_handled_before_stays_on_record() {
    let before = status::request_noted(&SubscriptionStatus::default(), "earlier");
    let after = rotated(&before, None);
    assert_eq!(after.last_handled_rotate_request.as_deref(), Some("earlier"));
}

#[test]
fn failures_keep_the_time_of_the_first() {
    let none = World::settled().status;
    let first = status::failed(&none, 1, Reason::RateLimited, "a", at(0), at(1));
    let second = status::failed(&first, 2, Reason::ProviderUnavailable, "b", at(5), at(9));
    let failures = second.failures.unwrap();
    assert_eq!(failures.since, at(0));
    assert_eq!(failures.next_attempt_time, at(9));
    assert_eq!(
        (failures.count, failures.reason, failures.inputs.as_deref()),
        (2, Reason::ProviderUnavailable, Some("b"))
    );
    assert_eq!(second.webhook_id, none.webhook_id, "all else stays");
}

#[test]
fn an_id_that_vanished_stays_on_record_with_the_first_time() {
    let once = status::missing(&World::settled().status, at(0));
    let twice = status::missing(&once, at(60));
    assert_eq!(twice.missing_since, Some(at(0)));
    assert_eq!(twice.webhook_id.as_deref(), Some("w1"));
}

#[test]
fn a_create_is_opened_and_closed() {
    let opened = status::creation_opened(&SubscriptionStatus::default(), "target", at(0));
    let record = opened.creation.clone().unwrap();
    assert_eq!((record.target.as_str(), record.started_time), ("target", at(0)));
    assert_eq!(status::creation_closed(&opened), SubscriptionStatus::default());
    let stays = World::settled().status;
    assert_eq!(status::creation_closed(&stays), stays, "all else stays");
}

#[test]
fn what_is_handed_over_is_all_that_belongs_to_the_remote() {
    let owner = SubscriptionStatus {
        last_rotated_time: Some(at(-HOUR)),
        applied_secrets: Some("secrets".into()),
        ..World::vanished(-HOUR).status
    };
    let mut heir = status::request_noted(&SubscriptionStatus::default(), "its own");
    heir = status::failed(&heir, 1, Reason::RateLimited, "a", at(0), at(1));
    let after = status::handed_over(&heir, &owner);
    let expected = SubscriptionStatus {
        observed_generation: heir.observed_generation,
        last_handled_rotate_request: Some("its own".into()),
        ..owner
    };
    assert_eq!(after, expected);
}

#[test]
fn an_open_create_is_handed_over_too() {
    let owner = World::creating(-10).status;
    let after = status::handed_over(&SubscriptionStatus::default(), &owner);
    assert_eq!(after.creation, owner.creation);
}

#[test]
fn another_life_of_the_token_in_place_is_recorded_to_the_millisecond() {
    let before = World::settled().status;
    let held = |fingerprint: &str, life| HeldToken {
        fingerprint: fingerprint.into(),
        minted: Moment { wall: at(0) + TimeDelta::microseconds(1_999), ..moment(0) },
        expires: Some(at(life)),
        confirmed: at(0),
    };
    let after = status::with_life_of(&before, &held(OLD, 60)).unwrap();
    let expected = SubscriptionStatus {
        token_minted_time: Some(at(0) + TimeDelta::milliseconds(1)),
        token_expiration_time: Some(at(60)),
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert_eq!(status::with_life_of(&after, &held(OLD, 60)), None, "nothing is new");
    assert_eq!(status::with_life_of(&before, &held(NEW, 60)), None, "it is not the token in place");
    assert_eq!(status::with_life_of(&SubscriptionStatus::default(), &held(OLD, 60)), None);
}

#[test]
fn what_a_listing_shows_again_is_no_longer_missing() {
    let before = World::vanished(-5).status;
    let after = status::found(&before);
    assert_eq!(after, SubscriptionStatus { missing_since: None, ..before });
}
