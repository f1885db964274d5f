use std::sync::Arc;

use super::*;
use crate::api::validation::Problem;
use crate::api::{Identity, ObjectKey, WebhookReceiverSpec};
use crate::gate::observer::Fact;
use crate::gate::receiver::Receiver;
use crate::gate::refusal::Refusal;
use crate::store::{Extent, Owner};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-11-27T03:14:59Z")
}

fn identity() -> Identity {
    Identity {
        key: ObjectKey::new("hr", "gupy"),
        uid: "u".to_owned(),
        generation: 3,
        created: None,
        deleted: None,
        has_finalizer: false,
        rotate_requested: None,
        force_orphan: false,
    }
}

fn receiver(verification: &str) -> Arc<Receiver> {
    let spec = format!("{{verification: {verification}, forward: {{url: 'https://app.example.com/'}}}}");
    let spec: WebhookReceiverSpec = serde_saphyr::from_str(&spec).unwrap();
    Arc::new(Receiver::of(&identity(), &spec).unwrap())
}

fn view() -> View {
    View {
        identity: identity(),
        receiver: Some(receiver("{basic: {secretKeyRefs: [{name: a, key: b}]}}")),
        problems: Vec::new(),
        conflict: None,
        clear_bodies: false,
        unusable: Vec::new(),
        none_usable: false,
        gone_since: None,
        url: Some("https://hooks.example.com/hr/gupy".to_owned()),
        recorded: WebhookReceiverStatus::default(),
    }
}

fn usage(pending: u64, parked: u64) -> Usage {
    let extent = |deliveries| Extent { deliveries, bytes: deliveries * 100 };
    Usage {
        owner: Owner { namespace: "hr".into(), name: "gupy".into(), uid: "u".into() },
        pending: extent(pending),
        parked: extent(parked),
        oldest_pending: (pending > 0).then(|| at("2026-11-27T01:00:00Z")),
        expected: 0,
        expected_parked: 0,
        window_shortened_until: None,
    }
}

fn of(view: &View, happened: &Happened, usage: &Usage) -> WebhookReceiverStatus {
    status(&WebhookReceiverStatus::default(), view, happened, Some(usage), now())
}

/// Type, status, reason and message of a condition, as people read it.
fn told(status: &WebhookReceiverStatus, kind: ConditionType) -> Option<String> {
    let condition = status.conditions.iter().find(|condition| condition.kind == kind)?;
    Some(format!("{:?} {}: {}", condition.status, condition.reason, condition.message))
}

#[test]
fn a_receiver_without_trouble_is_ready_and_its_times_are_rounded() {
    let happened = Happened { accepted: Some(now()), ..Happened::default() };
    let status = of(&view(), &happened, &usage(2, 0));
    assert_eq!(
        told(&status, ConditionType::Ready).unwrap(),
        "True Accepting: deliveries are taken in and proven"
    );
    assert_eq!(told(&status, ConditionType::Stalled), None);
    assert_eq!(told(&status, ConditionType::CredentialUnusable), None);
    assert_eq!(told(&status, ConditionType::HandingOn).unwrap(), "True Succeeded: deliveries are handed on");
    assert_eq!(status.last_accepted_time, Some(at("2026-11-27T03:10:00Z")));
    assert_eq!((status.waiting, status.observed_generation), (Some(2), Some(3)));
    assert_eq!(status.url.as_deref(), Some("https://hooks.example.com/hr/gupy"));
    // The same again is the same again: nothing is written.
    let later = now() + TimeDelta::seconds(1);
    assert_eq!(super::status(&status, &view(), &happened, Some(&usage(2, 0)), later), status);
}

#[test]
fn who_verifies_nothing_says_so() {
    let view = View { receiver: Some(receiver("{none: {}}")), ..view() };
    let status = of(&view, &Happened::default(), &usage(0, 0));
    assert_eq!(
        told(&status, ConditionType::Ready).unwrap(),
        "True NotVerified: nothing is verified (verification: none): whoever reaches the URL is believed"
    );
}

#[test]
fn an_invalid_version_says_whether_another_one_is_at_work() {
    let problems =
        vec![Problem { field: "spec.path".to_owned(), problem: "must begin with /hr/".to_owned() }];
    let invalid = View { problems, ..view() };
    let status = of(&invalid, &Happened::default(), &usage(0, 0));
    let expected = "False InvalidSpec: spec.path: must begin with /hr/. Its last valid version stays at work";
    assert_eq!(told(&status, ConditionType::Ready).unwrap(), expected);
    assert!(told(&status, ConditionType::Stalled).unwrap().starts_with("True InvalidSpec"));
    let never_valid = View { receiver: None, ..invalid };
    let status = of(&never_valid, &Happened::default(), &usage(0, 0));
    assert!(!told(&status, ConditionType::Ready).unwrap().contains("last valid"));
    assert_eq!(told(&status, ConditionType::HandingOn), None);
}

#[test]
fn of_a_conflict_nothing_of_another_namespace_is_named() {
    let with = |namespace| View { conflict: Some(ObjectKey::new(namespace, "older")), ..view() };
    let own = of(&with("hr"), &Happened::default(), &usage(0, 0));
    assert!(told(&own, ConditionType::Ready).unwrap().contains("WebhookReceiver older has"));
    let foreign = of(&with("shop"), &Happened::default(), &usage(0, 0));
    let told = told(&foreign, ConditionType::Ready).unwrap();
    assert!(
        told.starts_with("False Conflict") && !told.contains("older has") && !told.contains("shop"),
        "{told}"
    );
}

#[test]
fn what_waits_is_said_with_its_reason() {
    let handing_on = |view: &View, happened: &Happened, usage: &Usage| {
        told(&of(view, happened, usage), ConditionType::HandingOn).unwrap()
    };
    let paused = Happened {
        paused: Some((at("2026-11-27T03:00:00Z"), "connection refused".to_owned())),
        ..Happened::default()
    };
    assert_eq!(
        handing_on(&view(), &paused, &usage(7, 0)),
        "False ApplicationUnavailable: the application takes nothing since 2026-11-27T03:00:00Z: connection \
         refused; 7 wait, the oldest since 2026-11-27T01:00:00Z"
    );
    let why = format!("{}the Service app is headless", crate::gate::hand_on::NOT_ALLOWED);
    let nowhere = Happened { paused: Some((at("2026-11-27T03:00:00Z"), why)), ..Happened::default() };
    let told = handing_on(&view(), &nowhere, &usage(7, 0));
    assert!(
        told.starts_with("False DestinationNotAllowed: ") && told.contains("Z: the Service app is"),
        "{told}"
    );
    let gone = View { gone_since: Some(now()), ..view() };
    assert!(handing_on(&gone, &Happened::default(), &usage(1, 0)).starts_with("False ManifestGone"));
    let parked = handing_on(&view(), &Happened::default(), &usage(0, 3));
    assert!(parked.starts_with("True Parked: 3 are parked"), "{parked}");
}

#[test]
fn the_risk_of_removal_and_a_shortened_window_are_conditions_of_their_own() {
    let mut risk = Risk::default();
    let refused = Fact::Refused {
        reason: Refusal::RetiredToken,
        recognised: true,
        fingerprint: None,
        subscription: None,
    };
    risk.saw(&refused, now() - TimeDelta::hours(75));
    risk.saw(&refused, now());
    let happened = Happened { risk, ..Happened::default() };
    let gupy = Receiver {
        removed_after: Some(std::time::Duration::from_secs(7 * 24 * 3_600)),
        ..Receiver::clone(view().receiver.as_ref().unwrap())
    };
    let view = || View { receiver: Some(Arc::new(gupy.clone())), ..view() };
    let shortened = Usage { window_shortened_until: Some(at("2026-11-27T10:00:00Z")), ..usage(0, 0) };
    let status = of(&view(), &happened, &shortened);
    let risk = told(&status, ConditionType::RemovalRisk).unwrap();
    assert!(
        risk.starts_with("True RemovalLikely: for 3 days or longer every delivery")
            && risk.contains("after 7 days"),
        "{risk}"
    );
    let window = told(&status, ConditionType::DuplicateWindowShortened).unwrap();
    assert!(window.contains("until 2026-11-27T10:00:00Z"), "{window}");
    assert!(told(&status, ConditionType::Ready).unwrap().starts_with("True"));
    // A new process knows of it from what was written.
    let resumed = resumed(&status, gupy.removed_after);
    let again = super::status(&status, &view(), &resumed, Some(&usage(0, 0)), now());
    assert!(told(&again, ConditionType::RemovalRisk).unwrap().starts_with("True RemovalLikely: for 3 days"));
    // Both go with their cause.
    let status = super::status(&status, &view(), &Happened::default(), Some(&usage(0, 0)), now());
    assert_eq!(told(&status, ConditionType::RemovalRisk), None);
    assert_eq!(told(&status, ConditionType::DuplicateWindowShortened), None);
}

/// Of a receiver whose application says what it waits for.
#[test]
fn whether_the_platform_answers_is_told_only_when_nothing_else_came_for_a_minute() {
    let mut view = view();
    let asking = |view: &View, happened: &Happened, usage: &Usage| {
        let status = of(view, happened, usage);
        status.conditions.into_iter().find(|condition| condition.kind == ConditionType::Asking)
    };
    let expected = |expected, expected_parked| Usage { expected, expected_parked, ..usage(0, 0) };
    let nothing = Happened::default();
    assert_eq!(asking(&view, &nothing, &expected(0, 0)), None, "it has no fallback");

    let with_fallback = "{verification: {none: {}}, forward: {url: 'https://app.example.com/'}, fallback: {secretKeyRefs: [{name: a, key: k}], request: {url: 'https://api.example.com/{id}'}, until: ['3']}}";
    let spec: WebhookReceiverSpec = serde_saphyr::from_str(with_fallback).unwrap();
    view.receiver = Some(Arc::new(Receiver::of(&identity(), &spec).unwrap()));
    let told = |view: &View, happened: &Happened, usage: &Usage| {
        let found = asking(view, happened, usage).unwrap();
        (found.status, found.reason, found.message)
    };
    let (holds, reason, _) = told(&view, &nothing, &expected(7, 0));
    assert_eq!((holds, reason), (ConditionStatus::True, Reason::Succeeded));
    let (holds, reason, message) = told(&view, &nothing, &expected(7, 2));
    assert_eq!((holds, reason), (ConditionStatus::True, Reason::Parked));
    assert!(message.starts_with("2 ") && message.contains("hookkeeper deliveries expected"), "{message}");

    let since = |seconds| Happened {
        unanswered: Some((now() - TimeDelta::seconds(seconds), "the platform answered 401".to_owned())),
        ..Happened::default()
    };
    assert_eq!(told(&view, &since(59), &expected(7, 0)).1, Reason::Succeeded);
    let (holds, reason, message) = told(&view, &since(60), &expected(7, 2));
    assert_eq!((holds, reason), (ConditionStatus::False, Reason::PlatformUnavailable));
    assert!(message.contains("answered 401") && message.contains("7 are waited for"), "{message}");

    view.gone_since = Some(now());
    assert_eq!(told(&view, &since(60), &expected(7, 0)).1, Reason::ManifestGone);
}
