use chrono::TimeDelta;

use super::*;
use crate::api::{
    Condition, ConditionStatus, ConditionType, GateReport, Reason, SeenToken, WebhookReceiverStatus,
};
use crate::kubernetes::gate_lease::GateRecord;

const BEGAN: Duration = Duration::from_secs(1_000);

fn after(seconds: u64) -> Duration {
    BEGAN + Duration::from_secs(seconds)
}

fn wall(boot: Duration) -> DateTime<Utc> {
    let since = TimeDelta::from_std(boot - BEGAN).unwrap();
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + since
}

fn report(gate: &str) -> GateReport {
    let ready = Condition {
        kind: ConditionType::Ready,
        status: ConditionStatus::True,
        reason: Reason::Accepting,
        message: "all is well".into(),
        observed_generation: Some(1),
        last_transition_time: wall(after(0)),
    };
    GateReport {
        gate: gate.into(),
        observed_generation: Some(1),
        waiting: Some(0),
        conditions: vec![ready],
        ..GateReport::default()
    }
}

fn receiver(gates: &[&str]) -> Receiver {
    Receiver {
        uid: "u".into(),
        generation: 1,
        is_ending: false,
        source: None,
        asks_with: None,
        names_header: false,
        status: WebhookReceiverStatus {
            gates: gates.iter().map(|gate| report(gate)).collect(),
            ..WebhookReceiverStatus::default()
        },
        since: BEGAN,
        noticed: gates.iter().map(|gate| ((*gate).to_owned(), BEGAN)).collect(),
        told: Vec::new(),
    }
}

/// Gates that are there at this moment, and were all listed.
fn there(gates: &[&str], boot: Duration) -> Presence {
    let mut presence = Presence::new(BEGAN);
    for gate in gates {
        let record = GateRecord { gate: (*gate).to_owned(), is_complete: true, ..GateRecord::default() };
        presence.see(record, "1", boot);
    }
    presence.listed(&gates.iter().map(|gate| (*gate).to_owned()).collect());
    presence
}

fn decide(receiver: &Receiver, presence: &Presence, done: &Done, boot: Duration) -> Step {
    step(receiver, "hr", None, presence, done, (boot, wall(boot)))
}

/// The receiver, with what was decided to be written.
fn written(receiver: &Receiver, step: Step) -> Receiver {
    let Step::Write(status) = step else { panic!("{step:?}") };
    let gates = receiver.status.gates.clone();
    Receiver { status: WebhookReceiverStatus { gates, ..*status }, ..receiver.clone() }
}

#[test]
fn what_gates_say_is_written_once() {
    let (receiver, presence) = (receiver(&["a"]), there(&["a"], after(5)));
    let after_it = written(&receiver, decide(&receiver, &presence, &Done::default(), after(5)));
    assert_eq!(after_it.status.waiting, Some(0));
    let done = Done { written: Some(after(5)), ..Done::default() };
    let idle = decide(&after_it, &presence, &done, after(31));
    assert_eq!(idle, Step::Wait(None));
    let ending = Receiver { is_ending: true, ..receiver.clone() };
    assert_eq!(decide(&ending, &presence, &Done::default(), after(5)), Step::Wait(None));
    let failed = Done { not_before: after(9), ..Done::default() };
    assert_eq!(decide(&receiver, &presence, &failed, after(5)), Step::Wait(Some(after(9))));
}

#[test]
fn what_changes_with_every_delivery_is_written_once_a_minute() {
    let (receiver, presence) = (receiver(&["a"]), there(&["a"], after(50)));
    let mut busy = written(&receiver, decide(&receiver, &presence, &Done::default(), after(50)));
    let done = Done { written: Some(after(50)), ..Done::default() };
    busy.status.gates[0].waiting = Some(40);
    busy.status.gates[0].last_accepted_time = Some(wall(after(60)));
    assert_eq!(decide(&busy, &presence, &done, after(60)), Step::Wait(Some(after(110))));
    // A condition does not wait, and takes the rest along.
    busy.status.gates[0].conditions[0].status = ConditionStatus::False;
    let loud = written(&busy, decide(&busy, &presence, &done, after(60)));
    assert_eq!(loud.status.waiting, Some(40));
    busy.status.gates[0].conditions[0].status = ConditionStatus::True;
    let presence = there(&["a"], after(110));
    assert!(matches!(decide(&busy, &presence, &done, after(110)), Step::Write(_)));
}

#[test]
fn a_new_object_gets_a_moment_in_which_gates_look_at_it() {
    let new = Receiver { since: after(100), ..receiver(&[]) };
    let presence = there(&["a"], after(100));
    assert_eq!(decide(&new, &presence, &Done::default(), after(101)), Step::Wait(Some(after(130))));
    let presence = there(&["a"], after(130));
    let nobody = written(&new, decide(&new, &presence, &Done::default(), after(130)));
    assert_eq!(nobody.status.conditions[0].reason, Reason::NoGate);
    // And so does a process that has just begun.
    let presence = there(&[], BEGAN);
    let old = Receiver { since: Duration::ZERO, ..receiver(&[]) };
    assert_eq!(decide(&old, &presence, &Done::default(), after(29)), Step::Wait(None));
    assert!(matches!(decide(&old, &presence, &Done::default(), after(30)), Step::Write(_)));
}

#[test]
fn the_share_of_a_gate_that_is_gone_is_removed() {
    let presence = there(&["a"], after(20));
    let both = receiver(&["a", "gone"]);
    let both = written(&both, decide(&both, &presence, &Done::default(), after(20)));
    let done = Done { written: Some(after(20)), ..Done::default() };
    // Its Lease may be on its way.
    assert_eq!(decide(&both, &presence, &done, after(20)), Step::Wait(Some(after(30))));
    assert_eq!(decide(&both, &presence, &done, after(30)), Step::Clear("gone".into()));
    // One that is there is left alone, and so is one that is silent for a while.
    let silent = there(&["a", "gone"], after(20));
    assert_eq!(decide(&both, &silent, &done, after(40)), Step::Wait(None));
    let wait = decide(
        &Receiver { noticed: [("gone".into(), BEGAN)].into(), ..both.clone() },
        &silent,
        &done,
        after(60),
    );
    assert!(matches!(wait, Step::Write(_)), "nobody is live: that is told first");
    // What stays although it was removed is not ours, and is not removed all the time.
    let cleared = Done { cleared: [("gone".to_owned(), after(30))].into(), ..done };
    assert_eq!(decide(&both, &presence, &cleared, after(31)), Step::Wait(Some(after(630))));
}

#[test]
fn a_silent_gate_is_cleared_up_after_when_it_does_not_come_back() {
    let presence = {
        let mut presence = there(&["a", "silent"], after(0));
        let record = GateRecord { gate: "a".into(), is_complete: true, ..GateRecord::default() };
        presence.see(record, "2", after(290));
        presence
    };
    let both = receiver(&["a", "silent"]);
    let both = written(&both, decide(&both, &presence, &Done::default(), after(291)));
    let done = Done { written: Some(after(291)), ..Done::default() };
    assert_eq!(decide(&both, &presence, &done, after(299)), Step::Wait(Some(after(300))));
    assert_eq!(decide(&both, &presence, &done, after(300)), Step::Clear("silent".into()));
}

#[test]
fn who_has_seen_tokens_only_is_cleared_up_after_too() {
    let token = SeenToken { gate: "gone".into(), ..SeenToken::default() };
    let mut seen = receiver(&["a"]);
    seen.status.tokens = vec![token];
    seen.noticed.insert("gone".into(), BEGAN);
    let presence = there(&["a"], after(40));
    let kept = written(&seen, decide(&seen, &presence, &Done::default(), after(40)));
    assert_eq!(decide(&kept, &presence, &Done::default(), after(40)), Step::Clear("gone".into()));
}
