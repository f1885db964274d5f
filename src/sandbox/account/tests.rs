//! The verdicts of the account.

use super::*;

fn key(body: &str) -> EventKey {
    EventKey::of(body.as_bytes())
}

fn send(ledger: &DeliveryLedger, body: &str, expected: Expected, reply: Reply) {
    ledger.sent(key(body), expected);
    ledger.answered(key(body), reply);
}

fn process(ledger: &DeliveryLedger, body: &str, delivery: &str, duplicate_of: Option<&str>) {
    let arrival = Arrival { event: key(body), delivery, duplicate_of };
    ledger.arrived(&arrival);
    ledger.processed(&arrival, true);
}

async fn later() {
    tokio::time::advance(ANSWER_UNDER_WAY * 2).await;
}

/// All places that one event can be counted in.
fn places(summary: &Summary) -> [u64; 7] {
    [
        summary.once,
        summary.twice,
        summary.unexplained_doubles,
        summary.parked,
        summary.lost,
        summary.tests,
        summary.not_taken,
    ]
}

#[test]
fn what_was_acknowledged_and_never_arrives_is_lost_and_nothing_else_is() {
    let ledger = DeliveryLedger::default();
    send(&ledger, "arrives", Expected::Each, Reply::Acknowledged);
    process(&ledger, "arrives", "1", None);
    send(&ledger, "vanishes", Expected::Each, Reply::Acknowledged);
    send(&ledger, "vanishes too", Expected::Once, Reply::Acknowledged);
    send(&ledger, "refused", Expected::Each, Reply::Refused);
    send(&ledger, "cut", Expected::Each, Reply::Unanswered);
    send(&ledger, "test", Expected::Nothing, Reply::Acknowledged);
    let summary = ledger.account(&[]);
    assert_eq!(places(&summary), [1, 0, 0, 0, 2, 1, 2]);
    assert_eq!((summary.sent, summary.acknowledged), (6, 4));
    assert!(!summary.is_clean());
}

#[test]
fn parked_is_not_lost_and_is_known_by_its_id_or_by_its_body() {
    let ledger = DeliveryLedger::default();
    for body in ["seen", "unseen", "gone"] {
        send(&ledger, body, Expected::Each, Reply::Acknowledged);
    }
    ledger.arrived(&Arrival { event: key("seen"), delivery: "1", duplicate_of: None });
    assert_eq!(ledger.account(&[]).lost, 3);
    let summary = ledger.account(&[Parked::Id("1"), Parked::Body(b"unseen"), Parked::Id("?")]);
    assert_eq!(places(&summary), [0, 0, 0, 2, 1, 0, 0]);
    assert_eq!(summary.unknown_parked, 1);
}

#[test]
fn one_of_two_acknowledged_copies_that_is_missing_is_lost_unless_one_is_enough() {
    for (expected, lost) in [(Expected::Each, 1), (Expected::Once, 0)] {
        let ledger = DeliveryLedger::default();
        send(&ledger, "a", expected, Reply::Acknowledged);
        send(&ledger, "a", expected, Reply::Acknowledged);
        process(&ledger, "a", "1", None);
        assert_eq!(ledger.account(&[]).lost, lost, "{expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn twice_needs_a_reason() {
    let ledger = DeliveryLedger::default();
    for body in ["same", "marked", "neither", "at once", "wrongly marked"] {
        send(&ledger, body, Expected::Each, Reply::Acknowledged);
        process(&ledger, body, &format!("{body} 1"), None);
    }
    process(&ledger, "at once", "at once 2", None);
    later().await;
    process(&ledger, "same", "same 1", None);
    process(&ledger, "marked", "marked 2", Some("marked 1"));
    process(&ledger, "neither", "neither 2", None);
    process(&ledger, "wrongly marked", "wrongly marked 2", Some("no such"));
    let summary = ledger.account(&[]);
    assert_eq!(places(&summary), [0, 3, 2, 0, 0, 0, 0]);
    assert_eq!((summary.same_delivery, summary.marked, summary.overlapping), (1, 1, 1));
    assert_eq!(ledger.broken_rules()[0].rule, Rule::DuplicateOfKnown);
    assert_eq!(summary.broken_rules, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_without_a_mark_is_explained_when_the_first_comes_again() {
    let ledger = DeliveryLedger::default();
    send(&ledger, "a", Expected::Each, Reply::Acknowledged);
    process(&ledger, "a", "1", None);
    later().await;
    process(&ledger, "a", "2", None);
    assert_eq!(ledger.account(&[]).unexplained_doubles, 1);
    // The success of the first was never heard: it comes again.
    process(&ledger, "a", "1", None);
    let summary = ledger.account(&[]);
    assert_eq!((summary.unexplained_doubles, summary.twice), (0, 1));
}

#[test]
fn a_changed_body_is_a_loss_and_an_unknown_and_two_bodies_are_a_broken_rule() {
    let ledger = DeliveryLedger::default();
    send(&ledger, "a", Expected::Each, Reply::Acknowledged);
    process(&ledger, "a ", "1", None);
    let summary = ledger.account(&[]);
    assert_eq!((summary.lost, summary.unknown), (1, 1));
    process(&ledger, "a", "1", None);
    assert_eq!(ledger.broken_rules(), [BrokenRule { rule: Rule::OneBody, delivery: Some("1".into()) }]);
}

#[test]
fn what_the_application_refused_is_not_handed_on() {
    let ledger = DeliveryLedger::default();
    send(&ledger, "a", Expected::Each, Reply::Acknowledged);
    ledger.arrived(&Arrival { event: key("a"), delivery: "1", duplicate_of: None });
    assert_eq!(ledger.account(&[]).lost, 1);
    process(&ledger, "a", "1", None);
    assert_eq!(places(&ledger.account(&[])), [1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_was_withheld_is_recovered_by_asking_once() {
    let ledger = DeliveryLedger::default();
    ledger.withheld(key("a"));
    ledger.polled(key("b"));
    ledger.polled(key("a"));
    ledger.polled(key("a"));
    let summary = ledger.account(&[]);
    assert_eq!((summary.withheld, summary.polled, summary.recovered), (1, 3, 1));
    assert_eq!(summary.sent, 0);
}

#[test]
fn a_million_deliveries_are_accounted_for_one_by_one() {
    let ledger = DeliveryLedger::default();
    for number in 0..1_000_000_u32 {
        let event = EventKey::of(&number.to_be_bytes());
        ledger.sent(event, Expected::Each);
        ledger.answered(event, Reply::Acknowledged);
        if number != 777_777 {
            let arrival = Arrival { event, delivery: &number.to_string(), duplicate_of: None };
            ledger.arrived(&arrival);
            ledger.processed(&arrival, true);
        }
    }
    let summary = ledger.account(&[]);
    assert_eq!((summary.once, summary.lost, summary.untracked), (999_999, 1, 0));
}
