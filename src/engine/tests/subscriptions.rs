//! One subscription: declared, changed, written down, deleted.

use std::time::Duration;

use serde_json::json;

use super::scene::{LIFE, Outcome, Scene, gone, identity, key, subscription, subscription_as};
use crate::api::{ConditionStatus, ConditionType, Kind, Reason};
use crate::engine::change::Change;
use crate::engine::effect::Call;
use crate::engine::event::Event;
use crate::engine::ports::Invalid;
use crate::engine::write::Write;

fn is_update(call: &Call) -> bool {
    matches!(call, Call::Update { .. })
}

fn is_create(call: &Call) -> bool {
    matches!(call, Call::Create { .. })
}

fn is_status(call: &Call) -> bool {
    matches!(call, Call::Write { write: Write::Status { .. }, .. })
}

fn is_release(call: &Call) -> bool {
    matches!(call, Call::Write { write: Write::Release { .. }, .. })
}

/// So many subscriptions with a token in place.
fn in_place(subscriptions: u32) -> Scene {
    let mut scene = Scene::with(subscriptions);
    scene.settle();
    for number in 0..subscriptions {
        assert!(scene.status(number).webhook_id.is_some(), "{:?}", scene.status(number));
    }
    scene.notices.clear();
    scene
}

fn ready(scene: &Scene, number: u32) -> (ConditionStatus, Reason) {
    let status = scene.status(number);
    let ready = status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready).unwrap();
    (ready.status, ready.reason)
}

/// A rotation is due, and its token has been minted.
fn due() -> Scene {
    let mut scene = in_place(1);
    let next = scene.status(0).next_rotation_time.unwrap();
    scene.pass((next - scene.now.wall).to_std().unwrap());
    scene.end_the(|call| matches!(call, Call::Mint { .. }), Outcome::Succeeds);
    scene.time();
    scene
}

#[test]
fn nothing_is_created_before_its_record_is_durable() {
    let mut scene = Scene::with(1);
    loop {
        scene.time();
        assert!(!scene.calls.values().any(is_create), "before the record");
        if scene.calls.values().any(is_status) && scene.status(0).creation.is_some() {
            break;
        }
        let ticket = *scene.calls.keys().next().expect("something is under way");
        scene.end(ticket, Outcome::Succeeds);
    }
    scene.end_the(is_status, Outcome::Succeeds);
    assert!(scene.calls.values().any(is_create));
}

#[test]
fn a_create_whose_record_failed_is_not_sent() {
    let mut scene = Scene::with(1);
    while scene.status(0).creation.is_none() {
        scene.time();
        if scene.status(0).creation.is_none() {
            let ticket = *scene.calls.keys().next().expect("something is under way");
            scene.end(ticket, Outcome::Succeeds);
        }
    }
    scene.end_the(is_status, Outcome::Lost);
    assert!(!scene.calls.values().any(is_create));
    assert!(scene.status(0).creation.is_none(), "nothing was sent");
    scene.settle_for(Duration::from_secs(60), Duration::from_secs(5));
    assert_eq!((scene.remotes.len(), ready(&scene, 0).0), (1, ConditionStatus::True));
}

#[test]
fn an_update_that_succeeded_is_recorded_and_counted() {
    let mut scene = due();
    scene.end_the(is_update, Outcome::Succeeds);
    assert_eq!(ready(&scene, 0), (ConditionStatus::True, Reason::Rotated));
    assert_eq!(scene.status(0).last_rotated_time, Some(scene.now.wall));
    assert!(scene.calls.values().any(is_status), "it is made durable");
}

#[test]
fn an_update_that_failed_is_tried_again_later_and_shown() {
    let mut scene = due();
    scene.end_the(is_update, Outcome::Fails);
    let failures = scene.status(0).failures.expect("recorded");
    assert_eq!((failures.count, failures.reason), (1, Reason::ProviderUnavailable));
    scene.settle();
    assert!(!scene.calls.values().any(is_update), "not at once");
    scene.settle_for(LIFE / 2, Duration::from_secs(1));
    assert_eq!((ready(&scene, 0).0, scene.status(0).failures), (ConditionStatus::True, None));
}

#[test]
fn a_webhook_that_is_gone_is_looked_for_before_another_is_made() {
    let mut scene = due();
    scene.remotes.clear();
    scene.end_the(is_update, Outcome::Missing);
    assert!(scene.status(0).missing_since.is_some());
    assert!(scene.notices.iter().any(|notice| notice.reason == Reason::RemoteMissing));
    while !scene.calls.values().any(|call| matches!(call, Call::List { .. })) {
        scene.time();
        assert!(!scene.calls.values().any(is_create), "it is looked for first");
        let ticket = *scene.calls.keys().next().expect("something is under way");
        scene.end(ticket, Outcome::Succeeds);
    }
}

#[test]
fn what_an_older_term_sent_is_not_recorded_when_another_leader_has_been_there() {
    let mut scene = due();
    scene.handle(Event::Claim(None));
    let mut of_another = scene.status(0);
    of_another.token_fingerprint = Some("of another".into());
    let mut declared = subscription(0, 1, &json!({}));
    if let Change::Subscription(declared) = &mut declared {
        declared.status = of_another.clone();
    }
    scene.change(declared);
    scene.handle(Event::Claim(Some(2)));
    scene.end_the(is_update, Outcome::Succeeds);
    assert_eq!(scene.status(0).token_fingerprint, of_another.token_fingerprint);
}

#[test]
fn a_status_that_could_not_be_written_is_written_again() {
    let mut scene = due();
    scene.end_the(is_update, Outcome::Succeeds);
    scene.end_the(is_status, Outcome::Fails);
    assert!(scene.entry(0).unrecorded.is_some());
    scene.settle_for(Duration::from_secs(60), Duration::from_secs(1));
    assert!(scene.entry(0).unrecorded.is_none());
}

#[test]
fn a_version_that_breaks_a_rule_leaves_the_one_before_in_force() {
    let mut scene = in_place(1);
    let problem = Invalid { field: "spec.action".into(), problem: "is not allowed".into() };
    let identity = identity("subscription-0", 2);
    scene.change(Change::Invalid { kind: Kind::WebhookSubscription, identity, problem, status: json!({}) });
    scene.settle();
    let status = scene.status(0);
    let stalled = status.conditions.iter().find(|condition| condition.kind == ConditionType::Stalled);
    assert_eq!(stalled.map(|stalled| stalled.reason), Some(Reason::InvalidSpec));
    assert!(scene.entry(0).object().unwrap().spec.is_some());
    scene.settle_for(LIFE * 2, Duration::from_secs(60));
    assert!(scene.status(0).token_expiration_time.unwrap() > scene.now.wall, "it is still rotated");
}

#[test]
fn a_new_object_of_the_same_name_waits_until_the_step_of_the_old_one_has_ended() {
    let mut scene = due();
    let mut other = identity("subscription-0", 1);
    other.uid = "another".into();
    scene.change(subscription_as(other, 0, &json!({})));
    assert_eq!(scene.entry(0).object().unwrap().identity.uid, "uid-subscription-0");
    scene.end_the(is_update, Outcome::Succeeds);
    scene.end_the(is_status, Outcome::Succeeds);
    assert_eq!(scene.entry(0).object().unwrap().identity.uid, "another");
}

#[test]
fn a_deletion_waits_for_the_webhooks_and_is_written_down_last() {
    let mut scene = Scene::new();
    scene.declare_provider("provider", &json!({}));
    scene.change(super::scene::source("source", Default::default()));
    scene.change(subscription(0, 1, &json!({"deletionPolicy": "Delete"})));
    scene.change(Change::Synced);
    scene.settle();
    let mut deleted = identity("subscription-0", 2);
    (deleted.deleted, deleted.has_finalizer) = (Some(scene.now.wall), true);
    scene.change(subscription_as(deleted, 0, &json!({"deletionPolicy": "Delete"})));
    while !scene.calls.values().any(|call| matches!(call, Call::Delete { .. })) {
        scene.time();
        assert!(!scene.calls.values().any(is_release), "before the webhook is deleted");
        let other = scene.calls.iter().find(|(_, call)| !matches!(call, Call::Delete { .. }));
        if let Some(ticket) = other.map(|(ticket, _)| *ticket) {
            scene.end(ticket, Outcome::Succeeds);
        }
    }
    scene.end_the(|call| matches!(call, Call::Delete { .. }), Outcome::Succeeds);
    assert!(scene.remotes.is_empty());
    scene.end_the(is_release, Outcome::Fails);
    assert!(scene.state.by_key.contains_key(&key("subscription-0")), "it is let go again");
    scene.settle_for(Duration::from_secs(600), Duration::from_secs(5));
    assert!(scene.state.by_key.is_empty() && scene.state.is_at_rest());
}

#[test]
fn one_that_is_gone_without_a_deletion_leaves_its_webhook_and_people_hear_of_it() {
    let mut scene = Scene::with(0);
    scene.change(subscription(0, 1, &json!({"deletionPolicy": "Delete"})));
    scene.settle();
    scene.change(gone(Kind::WebhookSubscription, "subscription-0", false));
    scene.settle();
    assert!(scene.notices.iter().any(|notice| notice.reason == Reason::RemoteOrphaned));
    assert_eq!((scene.remotes.len(), scene.state.by_key.len()), (1, 0));
}

#[test]
fn the_finalizer_stands_before_there_is_anything_to_delete() {
    let mut scene = Scene::with(0);
    scene.change(subscription(0, 1, &json!({"deletionPolicy": "Delete"})));
    let is_finalizer = |call: &Call| matches!(call, Call::Write { write: Write::Finalizer { .. }, .. });
    while !scene.calls.values().any(is_finalizer) {
        scene.time();
        assert!(scene.status(0).creation.is_none());
        let ticket = *scene.calls.keys().next().expect("something is under way");
        scene.end(ticket, Outcome::Succeeds);
    }
    scene.end_the(is_finalizer, Outcome::Fails);
    assert_eq!(scene.status(0).failures.map(|failures| failures.reason), Some(Reason::InternalError));
    assert!(!scene.entry(0).object().unwrap().identity.has_finalizer);
    scene.settle_for(Duration::from_secs(120), Duration::from_secs(1));
    assert!(scene.entry(0).object().unwrap().identity.has_finalizer);
    assert_eq!((scene.remotes.len(), scene.status(0).failures), (1, None));
}

#[test]
fn a_panic_stays_with_its_subscription() {
    let mut scene = in_place(2);
    let next = scene.status(0).next_rotation_time.unwrap();
    scene.pass((next - scene.now.wall).to_std().unwrap() + Duration::from_secs(60));
    scene.end_the(|call| matches!(call, Call::Mint { .. }), Outcome::Succeeds);
    scene.time();
    let broken = *scene.calls.iter().find(|(_, call)| is_update(call)).unwrap().0;
    scene.end(broken, Outcome::Panics);
    scene.settle();
    let reasons: Vec<Option<Reason>> =
        (0..2).map(|number| scene.status(number).failures.map(|failures| failures.reason)).collect();
    assert!(reasons.contains(&Some(Reason::InternalError)) && reasons.contains(&None), "{reasons:?}");
    scene.settle_for(LIFE, Duration::from_secs(30));
    assert!((0..2).all(|number| ready(&scene, number).0 == ConditionStatus::True));
}
