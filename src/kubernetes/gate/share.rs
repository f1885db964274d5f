//! The share of one gate in a receiver's status. Pure.

use serde_json::{Value, json};

use crate::api::{Condition, GateReport, SeenToken, WebhookReceiverStatus};

/// Largest list of tokens of one gate, in bytes of JSON: an object may have 1.5 MiB, and 32 gates share it.
const MOST_BYTES: usize = 24 * 1024;

/// What one gate writes into a receiver's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    report: GateReport,
    tokens: Vec<SeenToken>,
}

/// How much a share differs from what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// In what changes all the time: counts and times, and what is told of them.
    Minor,
    /// In what somebody may wait for.
    Major,
}

impl Share {
    /// The share of a gate that says this of a receiver.
    pub(super) fn of(gate: &str, store: &str, status: &WebhookReceiverStatus) -> Self {
        let report = GateReport {
            gate: gate.to_owned(),
            observed_generation: status.observed_generation,
            store: Some(store.to_owned()),
            url: status.url.clone(),
            waiting: status.waiting.map(in_two_digits),
            last_accepted_time: status.last_accepted_time,
            last_refused_time: status.last_refused_time,
            conditions: status.conditions.clone(),
        };
        let mut left = MOST_BYTES;
        let tokens = status.tokens.iter().map_while(|token| {
            let size = serde_json::to_string(token).map_or(usize::MAX, |text| text.len() + 1);
            left = left.checked_sub(size)?;
            Some(SeenToken { gate: gate.to_owned(), ..token.clone() })
        });
        Self { tokens: tokens.collect(), report }
    }

    /// The share of a gate as it is recorded.
    pub(super) fn recorded(gate: &str, status: &WebhookReceiverStatus) -> Option<Self> {
        let report = status.gates.iter().find(|report| report.gate == gate)?.clone();
        let tokens = status.tokens.iter().filter(|token| token.gate == gate).cloned().collect();
        Some(Self { report, tokens })
    }

    /// How it differs from what is recorded, if it does.
    pub(super) fn difference(&self, recorded: Option<&Self>) -> Option<Difference> {
        let Some(recorded) = recorded else { return Some(Difference::Major) };
        if self.facts() != recorded.facts() {
            return Some(Difference::Major);
        }
        let is_same = self.report == recorded.report && sorted(&self.tokens) == sorted(&recorded.tokens);
        (!is_same).then_some(Difference::Minor)
    }

    /// What somebody may wait for.
    fn facts(&self) -> impl PartialEq + use<> {
        let report = &self.report;
        let mut conditions: Vec<_> = report
            .conditions
            .iter()
            .map(|Condition { kind, status, reason, observed_generation, .. }| {
                (*kind, *status, *reason, *observed_generation)
            })
            .collect();
        conditions.sort_unstable();
        let tokens: Vec<SeenToken> = sorted(&self.tokens)
            .into_iter()
            .map(|token| SeenToken { last_seen: chrono::DateTime::UNIX_EPOCH, ..token })
            .collect();
        (report.observed_generation, report.store.clone(), report.url.clone(), conditions, tokens)
    }

    /// The status to apply: nothing that is another's is in it.
    pub(super) fn status(&self) -> Value {
        json!({ "gates": [self.report], "tokens": self.tokens })
    }
}

/// A list-map comes back in any order.
fn sorted(tokens: &[SeenToken]) -> Vec<SeenToken> {
    let mut tokens = tokens.to_vec();
    tokens.sort_by(|one, other| (&one.fingerprint, &one.event).cmp(&(&other.fingerprint, &other.event)));
    tokens
}

/// A count to two digits: one that grows all the time is not written all the time.
fn in_two_digits(count: i64) -> i64 {
    let mut unit = 1;
    while count / unit >= 100 {
        unit *= 10;
    }
    (count + unit / 2) / unit * unit
}

/// What a gate begins with: what it said itself before, or else what is said of all gates together, so that
/// a risk goes on when a gate takes the place of another one.
pub(super) fn begun_with(gate: &str, status: WebhookReceiverStatus) -> WebhookReceiverStatus {
    let own = status.gates.iter().find(|report| report.gate == gate).cloned();
    let status = WebhookReceiverStatus { gates: Vec::new(), tokens: Vec::new(), ..status };
    let Some(own) = own else { return status };
    WebhookReceiverStatus {
        observed_generation: own.observed_generation,
        url: own.url,
        waiting: own.waiting,
        last_accepted_time: own.last_accepted_time,
        last_refused_time: own.last_refused_time,
        conditions: own.conditions,
        ..status
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::api::{ConditionStatus, ConditionType, Reason};

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn token(fingerprint: &str) -> SeenToken {
        SeenToken {
            gate: "gate-0".to_owned(),
            fingerprint: fingerprint.to_owned(),
            event: "created".to_owned(),
            last_seen: at(10),
            subscriptions: vec!["first".to_owned()],
            ..SeenToken::default()
        }
    }

    fn status() -> WebhookReceiverStatus {
        WebhookReceiverStatus {
            observed_generation: Some(3),
            url: Some("https://hooks.example/hr/in".to_owned()),
            waiting: Some(7),
            last_accepted_time: Some(at(10)),
            tokens: vec![token("b"), token("a")],
            conditions: vec![Condition {
                kind: ConditionType::Ready,
                status: ConditionStatus::True,
                reason: Reason::Accepting,
                message: "deliveries are taken in and proven".to_owned(),
                observed_generation: Some(3),
                last_transition_time: at(0),
            }],
            ..WebhookReceiverStatus::default()
        }
    }

    fn share(status: &WebhookReceiverStatus) -> Share {
        Share::of("gate-0", "0123456789abcdef", status)
    }

    #[test]
    fn what_is_applied_comes_back_as_the_same_share_among_others() {
        let own = share(&status());
        let mut whole: WebhookReceiverStatus = serde_json::from_value(own.status()).unwrap();
        whole.gates.insert(0, GateReport { gate: "gate-1".to_owned(), ..GateReport::default() });
        whole.tokens.push(SeenToken { gate: "gate-1".to_owned(), ..token("c") });
        whole.tokens.reverse();
        assert_eq!(own.difference(Share::recorded("gate-0", &whole).as_ref()), None);
        assert_eq!(own.difference(Share::recorded("gate-2", &whole).as_ref()), Some(Difference::Major));
        let written = own.status();
        let fields: Vec<&String> = written.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["gates", "tokens"], "and nothing of anybody else");
    }

    #[test]
    fn only_what_somebody_may_wait_for_is_urgent() {
        let before = share(&status());
        type Change = fn(&mut WebhookReceiverStatus);
        let minor: [Change; 5] = [
            |status| status.waiting = Some(8),
            |status| status.last_accepted_time = Some(at(20)),
            |status| status.last_refused_time = Some(at(20)),
            |status| status.conditions[0].message = "8 wait".to_owned(),
            |status| status.tokens[0].last_seen = at(20),
        ];
        let major: [Change; 8] = [
            |status| status.conditions[0].status = ConditionStatus::False,
            |status| status.conditions[0].reason = Reason::NotVerified,
            |status| status.conditions.clear(),
            |status| status.observed_generation = Some(4),
            |status| status.url = None,
            |status| status.tokens.push(token("c")),
            |status| status.tokens[0].subscriptions.push("second".to_owned()),
            |status| status.tokens[0].retired = true,
        ];
        let difference = |change: Change| {
            let mut changed = status();
            change(&mut changed);
            share(&changed).difference(Some(&before))
        };
        for change in minor {
            assert_eq!(difference(change), Some(Difference::Minor));
        }
        for change in major {
            assert_eq!(difference(change), Some(Difference::Major));
        }
        assert_eq!(difference(|_| {}), None);
    }

    #[test]
    fn a_count_that_grows_is_told_in_two_digits() {
        for (count, told) in
            [(0, 0), (7, 7), (99, 99), (100, 100), (104, 100), (105, 110), (995, 1_000), (123_456, 120_000)]
        {
            assert_eq!(in_two_digits(count), told, "{count}");
        }
        assert!(in_two_digits(i64::MAX / 2) > 0);
    }

    #[test]
    fn of_too_many_tokens_the_newest_are_told() {
        let mut long = status();
        long.tokens = (0..64)
            .map(|number| SeenToken {
                subscriptions: (0..16).map(|name| format!("{name:0>253}")).collect(),
                ..token(&number.to_string())
            })
            .collect();
        let told = share(&long).tokens;
        assert!(!told.is_empty() && told.len() < 10, "{}", told.len());
        assert_eq!(told[..], long.tokens[..told.len()]);
    }

    #[test]
    fn a_gate_begins_with_its_own_words_or_else_with_what_is_said_of_all() {
        let mut recorded = status();
        recorded.conditions[0].reason = Reason::Conflict;
        recorded.gates = vec![share(&status()).report];
        let own = begun_with("gate-0", recorded.clone());
        assert_eq!((own.conditions[0].reason, own.gates.len(), own.tokens.len()), (Reason::Accepting, 0, 0));
        let of_all = begun_with("gate-1", recorded);
        assert_eq!(
            (of_all.conditions[0].reason, of_all.gates.len(), of_all.tokens.len()),
            (Reason::Conflict, 0, 0)
        );
        assert_eq!(of_all.last_accepted_time, Some(at(10)));
    }
}
