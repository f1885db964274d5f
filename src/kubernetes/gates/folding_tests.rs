use chrono::TimeDelta;

use super::*;

const GENERATION: i64 = 3;

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minute)
}

fn condition(kind: ConditionType, status: ConditionStatus, reason: Reason) -> Condition {
    Condition {
        kind,
        status,
        reason,
        message: format!("{reason} it is"),
        observed_generation: Some(GENERATION),
        last_transition_time: at(0),
    }
}

fn ready() -> Condition {
    condition(ConditionType::Ready, ConditionStatus::True, Reason::Accepting)
}

fn report(gate: &str, conditions: Vec<Condition>) -> GateReport {
    GateReport {
        gate: gate.into(),
        observed_generation: Some(GENERATION),
        store: Some(format!("store-of-{gate}")),
        url: Some("https://hooks.example.com/hr/gupy".into()),
        waiting: Some(0),
        conditions,
        ..GateReport::default()
    }
}

fn said_by(gates: Vec<GateReport>) -> WebhookReceiverStatus {
    WebhookReceiverStatus { observed_generation: Some(-1), gates, ..WebhookReceiverStatus::default() }
}

fn situation<'a>(live: &'a BTreeSet<&'a str>) -> Situation<'a> {
    Situation {
        generation: GENERATION,
        namespace: "hr",
        live,
        is_settled: true,
        place: None,
        names_header: false,
    }
}

fn folded_at(minute: i64, status: &WebhookReceiverStatus, live: &[&str]) -> WebhookReceiverStatus {
    let live = live.iter().copied().collect();
    fold(status, &situation(&live), at(minute))
}

fn folded(gates: Vec<GateReport>, live: &[&str]) -> WebhookReceiverStatus {
    folded_at(9, &said_by(gates), live)
}

fn find(status: &WebhookReceiverStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

fn shown(status: &WebhookReceiverStatus, kind: ConditionType) -> Option<(ConditionStatus, Reason)> {
    find(status, kind).map(|condition| (condition.status, condition.reason))
}

#[test]
fn what_one_gate_says_is_the_state() {
    let mut one = report("a", vec![ready()]);
    (one.waiting, one.last_accepted_time, one.last_refused_time) = (Some(7), Some(at(5)), Some(at(4)));
    let status = folded(vec![one], &["a"]);
    assert_eq!(shown(&status, ConditionType::Ready), Some((ConditionStatus::True, Reason::Accepting)));
    let ready = find(&status, ConditionType::Ready).unwrap();
    assert_eq!(ready.message, "Accepting it is");
    assert_eq!((ready.observed_generation, ready.last_transition_time), (Some(GENERATION), at(9)));
    assert_eq!(status.observed_generation, Some(GENERATION));
    assert_eq!(status.url.as_deref(), Some("https://hooks.example.com/hr/gupy"));
    assert_eq!(status.waiting, Some(7));
    assert_eq!((status.last_accepted_time, status.last_refused_time), (Some(at(5)), Some(at(4))));
    assert!(status.gates.is_empty() && status.tokens.is_empty(), "these are written by gates");
}

#[test]
fn the_same_again_is_equal_whenever_it_is_said() {
    let gates = vec![report("a", vec![ready()]), report("b", vec![ready()])];
    let first = folded(gates.clone(), &["a", "b"]);
    let written = WebhookReceiverStatus { gates, ..first.clone() };
    assert_eq!(folded_at(500, &written, &["a", "b"]), first);
}

#[test]
fn for_each_condition_the_worst_counts() {
    use ConditionStatus::{False, True, Unknown};
    use ConditionType::*;
    for (kind, better, worse) in [
        (Ready, (True, Reason::Accepting), (False, Reason::CredentialUnusable)),
        (Ready, (True, Reason::Accepting), (Unknown, Reason::Pending)),
        (Ready, (Unknown, Reason::Pending), (False, Reason::InvalidSpec)),
        (HandingOn, (True, Reason::Succeeded), (False, Reason::ApplicationUnavailable)),
        (HandingOn, (True, Reason::Succeeded), (True, Reason::Parked)),
        (HandingOn, (True, Reason::Parked), (False, Reason::ApplicationUnavailable)),
        (Asking, (True, Reason::Succeeded), (False, Reason::PlatformUnavailable)),
        (Stalled, (False, Reason::Valid), (True, Reason::InvalidSpec)),
        (RemovalRisk, (True, Reason::RemovalPossible), (True, Reason::RemovalLikely)),
        (RemovalRisk, (True, Reason::RemovalLikely), (True, Reason::RemovalNear)),
    ] {
        let say = |(status, reason)| vec![condition(kind, status, reason)];
        for (first, second) in [(better, worse), (worse, better)] {
            let gates = vec![report("a", say(first)), report("b", say(second))];
            let status = folded(gates, &["a", "b"]);
            assert_eq!(shown(&status, kind), Some(worse), "{kind:?}");
            let gate = if first == worse { "a" } else { "b" };
            let message = &find(&status, kind).unwrap().message;
            assert_eq!(*message, format!("at the gate {gate}: {} it is", worse.1), "who says it");
        }
    }
    // Only one of two gates says it.
    for kind in [Stalled, CredentialUnusable, RemovalRisk, DuplicateWindowShortened] {
        let said = condition(kind, True, Reason::TooManyEvents);
        let status = folded(vec![report("a", vec![ready()]), report("b", vec![said])], &["a", "b"]);
        assert_eq!(shown(&status, kind), Some((True, Reason::TooManyEvents)), "{kind:?}");
        let over = WebhookReceiverStatus { gates: vec![report("a", vec![ready()])], ..status };
        assert_eq!(shown(&folded_at(10, &over, &["a"]), kind), None, "nobody says it any more");
    }
}

#[test]
fn gates_that_are_gone_or_have_not_seen_the_newest_version_say_nothing() {
    let bad = || condition(ConditionType::Ready, ConditionStatus::False, Reason::InvalidSpec);
    let older = GateReport { observed_generation: Some(GENERATION - 1), ..report("old", vec![bad()]) };
    let gates = vec![report("a", vec![ready()]), older.clone(), report("gone", vec![bad()])];
    let status = folded(gates, &["a", "old"]);
    assert_eq!(shown(&status, ConditionType::Ready), Some((ConditionStatus::True, Reason::Accepting)));
    // Until somebody has seen it, what was said of the one before stands.
    let before = folded(vec![report("a", vec![ready()])], &["a"]);
    let before = WebhookReceiverStatus { observed_generation: Some(GENERATION - 1), ..before };
    let status = folded_at(20, &WebhookReceiverStatus { gates: vec![older], ..before.clone() }, &["old"]);
    assert_eq!(status, before);
}

#[test]
fn gates_with_one_store_count_once() {
    let with = |gate: &str, store: Option<&str>, waiting| GateReport {
        store: store.map(str::to_owned),
        waiting,
        ..report(gate, vec![ready()])
    };
    for (gates, wanted) in [
        (vec![with("a", Some("x"), Some(3)), with("b", Some("x"), Some(5))], Some(5)),
        (vec![with("a", Some("x"), Some(3)), with("b", Some("y"), Some(5))], Some(8)),
        (vec![with("a", None, Some(3)), with("b", None, Some(5))], Some(8)),
        (vec![with("a", Some("x"), None), with("b", Some("y"), Some(5))], Some(5)),
        (vec![with("a", Some("x"), None)], None),
        (vec![with("a", Some("x"), Some(i64::MAX)), with("b", Some("y"), Some(5))], Some(i64::MAX)),
        // What a gate that is gone counted, another one may have taken over.
        (vec![with("a", Some("x"), Some(3)), with("gone", Some("y"), Some(5))], Some(3)),
    ] {
        assert_eq!(folded(gates.clone(), &["a", "b"]).waiting, wanted, "{gates:?}");
    }
}

#[test]
fn times_are_the_newest_and_outlast_whoever_saw_them() {
    let seen = |gate: &str, accepted, refused| GateReport {
        last_accepted_time: accepted,
        last_refused_time: refused,
        ..report(gate, vec![ready()])
    };
    let gates = vec![seen("a", Some(at(1)), None), seen("b", Some(at(2)), Some(at(3)))];
    let status = folded(gates, &["a"]);
    assert_eq!((status.last_accepted_time, status.last_refused_time), (Some(at(2)), Some(at(3))));
    let later = WebhookReceiverStatus { gates: vec![seen("a", Some(at(1)), None)], ..status };
    assert_eq!(folded_at(20, &later, &["a"]).last_accepted_time, Some(at(2)));
}

#[test]
fn a_delivery_that_another_gate_has_taken_ends_the_risk_of_removal() {
    let risk = condition(ConditionType::RemovalRisk, ConditionStatus::True, Reason::RemovalLikely);
    for (accepted, wanted) in [(None, true), (Some(at(0)), true), (Some(at(10)), false)] {
        let other = GateReport { last_accepted_time: accepted, ..report("b", vec![ready()]) };
        let status = folded(vec![report("a", vec![ready(), risk.clone()]), other], &["a", "b"]);
        assert_eq!(shown(&status, ConditionType::RemovalRisk).is_some(), wanted, "{accepted:?}");
    }
}

#[test]
fn without_a_gate_it_is_not_ready_and_says_what_to_do() {
    let said = vec![
        ready(),
        condition(ConditionType::HandingOn, ConditionStatus::True, Reason::Succeeded),
        condition(ConditionType::RemovalRisk, ConditionStatus::True, Reason::RemovalLikely),
    ];
    let gates = vec![report("a", said)];
    let before = WebhookReceiverStatus { gates: gates.clone(), ..folded(gates, &["a"]) };
    let live = BTreeSet::from(["of-another-namespace"]);
    let unsure = Situation { is_settled: false, ..situation(&live) };
    assert_eq!(fold(&before, &unsure, at(20)), own_part(&before), "one may be about to appear");
    let status = fold(&before, &situation(&live), at(20));
    assert_eq!(shown(&status, ConditionType::Ready), Some((ConditionStatus::False, Reason::NoGate)));
    let ready = find(&status, ConditionType::Ready).unwrap();
    assert!(ready.message.contains("serves the namespace hr") && ready.message.contains("gate.enabled"));
    assert_eq!(ready.last_transition_time, at(20));
    assert_eq!(status.observed_generation, Some(GENERATION));
    assert_eq!(status.waiting, None);
    let kinds: Vec<ConditionType> = status.conditions.iter().map(|condition| condition.kind).collect();
    assert_eq!(kinds, [ConditionType::Ready, ConditionType::RemovalRisk], "patience goes on being used up");
    // And it is over as soon as one is back.
    let back = WebhookReceiverStatus { gates: before.gates, ..status };
    let status = folded_at(30, &back, &["a"]);
    assert_eq!(shown(&status, ConditionType::Ready), Some((ConditionStatus::True, Reason::Accepting)));
    assert_eq!(find(&status, ConditionType::Ready).unwrap().last_transition_time, at(30));
}

#[test]
fn gates_learn_where_the_token_stands() {
    let live = BTreeSet::from(["a"]);
    let of = |status: &WebhookReceiverStatus, place: Option<(&str, &str)>, names_header| {
        let place = place.map(|(header, prefix)| (header.to_owned(), prefix.to_owned()));
        let situation = Situation { place: place.as_ref(), names_header, ..situation(&live) };
        let status = fold(status, &situation, at(0));
        let told = (status.token_header.clone(), status.token_prefix.clone());
        (status, told)
    };
    let some = |text: &str| Some(text.to_owned());
    let (status, told) = of(&said_by(vec![]), Some(("Authorization", "Bearer ")), true);
    assert_eq!(told, (some("Authorization"), some("Bearer ")), "whatever the receiver says");
    assert_eq!(of(&status, Some(("token", "")), false).1, (some("token"), None));
    assert_eq!(of(&status, None, false).1, told, "what is under way comes where it came before");
    assert_eq!(of(&status, None, true).1, (None, None));
}

#[test]
fn people_hear_of_what_begins_and_ends() {
    let status =
        |conditions: Vec<Condition>| WebhookReceiverStatus { conditions, ..WebhookReceiverStatus::default() };
    let bad = |reason| condition(ConditionType::Ready, ConditionStatus::False, reason);
    let risk = |reason| condition(ConditionType::RemovalRisk, ConditionStatus::True, reason);
    let unusable =
        || condition(ConditionType::CredentialUnusable, ConditionStatus::True, Reason::CredentialUnusable);
    for (before, after, wanted) in [
        (vec![], vec![ready()], vec![]),
        (vec![ready()], vec![ready()], vec![]),
        (vec![], vec![bad(Reason::NoGate)], vec![(true, Reason::NoGate)]),
        (vec![bad(Reason::NoGate)], vec![bad(Reason::NoGate)], vec![]),
        (vec![bad(Reason::NoGate)], vec![bad(Reason::InvalidSpec)], vec![(true, Reason::InvalidSpec)]),
        (vec![bad(Reason::NoGate)], vec![ready()], vec![(false, Reason::Recovered)]),
        (vec![ready()], vec![ready(), unusable()], vec![(true, Reason::CredentialUnusable)]),
        (
            vec![ready()],
            vec![bad(Reason::CredentialUnusable), unusable()],
            vec![(true, Reason::CredentialUnusable)],
        ),
        (
            vec![ready(), risk(Reason::RemovalPossible)],
            vec![ready(), risk(Reason::RemovalLikely)],
            vec![(true, Reason::RemovalLikely)],
        ),
        (vec![ready(), risk(Reason::RemovalNear)], vec![ready(), risk(Reason::RemovalNear)], vec![]),
    ] {
        let news = news(&status(before.clone()), &status(after.clone()));
        let short: Vec<_> = news.into_iter().map(|(warning, reason, _)| (warning, reason)).collect();
        assert_eq!(short, wanted, "{before:?} {after:?}");
    }
}
