//! What alerts and the dashboard ask for: every metric, label and value in it is one that the binary
//! really exports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use hookkeeper::api::Reason;
use hookkeeper::gate::refusal::Refusal;
use regex::Regex;

use super::alerts::rules;
use super::dashboard::expressions;
use super::exported::{Exported, of_controller, of_controller_with_gates, of_gate, of_sidecar};

/// Labels that Prometheus or whoever runs it adds.
const OF_A_TARGET: [&str; 5] = ["cluster", "namespace", "exported_namespace", "job", "instance"];
/// The states of `hookkeeper_subscriptions`.
const STATES: [&str; 5] = ["ready", "degraded", "expired", "stalled", "suspended"];
/// What there is no watch for.
const NOT_OF_A_SIDECAR: &str = "hookkeeper_watch_last_event_timestamp_seconds";
/// What is said of gates by the process that brings them tokens.
const OF_WHOEVER_ROTATES: [&str; 2] = ["hookkeeper_gate_behind_total", "hookkeeper_gate_lacks_token"];
/// What a controller says only where subscriptions have receivers, and gates are there.
const WITH_GATES: [&str; 5] = [
    "hookkeeper_gates_live",
    "hookkeeper_receivers_without_gate",
    "hookkeeper_gate_lacks_token",
    "hookkeeper_old_token_still_seen",
    "hookkeeper_token_unobserved",
];

static SELECTOR: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b((?:hookkeeper|process|tokio)_\w+)(?:\{([^}]*)\})?"));
static MATCHER: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)""#));
static GROUPING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// What is asked of whoever rotates, and what is asked of a gate.
fn asked() -> (Vec<String>, Vec<String>) {
    let asked = all_that_is_asked().into_iter().filter(|asked| !asks_of_gates_in_a_cluster(asked));
    asked.partition(|asked| {
        let names = SELECTOR.captures_iter(asked).map(|selector| selector[1].to_owned());
        let mut of_a_gate = names.filter(|name| name.starts_with("hookkeeper_gate_"));
        !of_a_gate.any(|name| !OF_WHOEVER_ROTATES.contains(&name.as_str()))
    })
}

fn all_that_is_asked() -> Vec<String> {
    let of_rules = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    of_rules.chain(expressions()).collect()
}

fn asks_of_gates_in_a_cluster(asked: &str) -> bool {
    SELECTOR.captures_iter(asked).any(|selector| WITH_GATES.contains(&&selector[1]))
}

fn names(asked: &[String]) -> BTreeSet<String> {
    let selectors = asked.iter().flat_map(|expression| SELECTOR.captures_iter(expression));
    selectors.map(|selector| selector[1].to_owned()).collect()
}

/// Whether one of the words of a matcher's value is nowhere to be found.
fn unknown(label: &str, value: &str, exported: &BTreeSet<String>) -> Option<String> {
    // The variables of the dashboard are names that people choose.
    if value.is_empty() || value.contains('$') {
        return None;
    }
    let value = value.replace(r"\\", r"\");
    let words: Vec<&str> = if value.contains('(') { vec![&value] } else { value.split('|').collect() };
    let is_known = |word: &str| {
        let word_pattern = pattern(&format!("^(?:{word})$"));
        let reason = serde_json::from_value::<Reason>(word.into());
        match label {
            "state" => STATES.contains(&word),
            "reason" | "outcome" => {
                reason.is_ok_and(|reason| reason != Reason::Unknown)
                    || Refusal::ALL.iter().any(|refusal| refusal.name() == word)
                    // Those of questions to platforms are all shown from the beginning.
                    || label == "outcome" && exported.iter().any(|exported| word_pattern.is_match(exported))
            }
            _ => exported.iter().any(|exported| word_pattern.is_match(exported)),
        }
    };
    words.into_iter().find(|word| !is_known(word)).map(str::to_owned)
}

fn problems(asked: &[String], exported: &Exported) -> Vec<String> {
    let mut problems = Vec::new();
    let all_labels: BTreeSet<&str> =
        exported.values().flat_map(BTreeMap::keys).map(String::as_str).chain(OF_A_TARGET).collect();
    for expression in asked {
        for selector in SELECTOR.captures_iter(expression) {
            let name = &selector[1];
            let Some(labels) = exported.get(name) else {
                problems.push(format!("{name} is not exported"));
                continue;
            };
            let matchers = selector.get(2).map_or("", |matchers| matchers.as_str());
            for matcher in MATCHER.captures_iter(matchers) {
                let (label, value) = (&matcher[1], &matcher[2]);
                match labels.get(label) {
                    None if OF_A_TARGET.contains(&label) => {}
                    None => problems.push(format!("{name} has no label {label}")),
                    Some(values) => problems.extend(
                        unknown(label, value, values).map(|word| format!("{name}: {label} is never {word}")),
                    ),
                }
            }
        }
        for grouping in GROUPING.captures_iter(expression) {
            let labels = grouping[1].split(',').map(str::trim).filter(|label| !label.is_empty());
            let lacking = labels.filter(|label| !all_labels.contains(label));
            problems.extend(lacking.map(|label| format!("nothing has a label {label}")));
        }
    }
    problems
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_exports_all_that_is_asked_for() {
    let (asked, _) = asked();
    let exported = of_controller(&names(&asked)).await;
    assert_eq!(problems(&asked, &exported), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_exports_it_too_but_for_the_watch() {
    let (asked, _) = asked();
    let mut wanted = names(&asked);
    assert!(wanted.remove(NOT_OF_A_SIDECAR));
    let exported = of_sidecar(&wanted).await;
    assert!(!exported.contains_key(NOT_OF_A_SIDECAR));
    assert_eq!(problems(&asked, &exported), [(); 2].map(|()| format!("{NOT_OF_A_SIDECAR} is not exported")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_gates_exports_what_is_asked_of_them() {
    let mut asked = all_that_is_asked();
    asked.retain(|asked| asks_of_gates_in_a_cluster(asked));
    assert!(asked.len() >= 4, "{asked:?}");
    let exported = of_controller_with_gates(&names(&asked)).await;
    assert_eq!(problems(&asked, &exported), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_exports_all_that_is_asked_of_one() {
    let (_, asked) = asked();
    assert!(asked.len() > 5, "{asked:?}");
    let exported = of_gate(&names(&asked)).await;
    assert_eq!(problems(&asked, &exported), [""; 0]);
}

#[test]
fn what_is_not_exported_is_noticed() {
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
    let labels = BTreeMap::from([
        ("state".to_owned(), values(&["ready"])),
        ("reason".to_owned(), values(&["Rotated"])),
        ("within".to_owned(), values(&["1h"])),
    ]);
    let exported = BTreeMap::from([("hookkeeper_a".to_owned(), labels)]);
    let said = |expression: &str| problems(&[expression.to_owned()], &exported);
    for good in [
        r#"sum by (job, state) (hookkeeper_a{state=~"expired|stalled", reason="TokenExpired", job=~"$job"})"#,
        r#"hookkeeper_a{within="1h"} and on (instance) hookkeeper_a"#,
    ] {
        assert_eq!(said(good), [""; 0], "{good}");
    }
    for (bad, problem) in [
        ("hookkeeper_b > 0", "hookkeeper_b is not exported"),
        (r#"hookkeeper_a{state=~"expired|dead"}"#, "hookkeeper_a: state is never dead"),
        (r#"hookkeeper_a{reason="Gone"}"#, "hookkeeper_a: reason is never Gone"),
        (r#"hookkeeper_a{within="2h"}"#, "hookkeeper_a: within is never 2h"),
        (r#"hookkeeper_a{kind="x"}"#, "hookkeeper_a has no label kind"),
        ("sum by (kind) (hookkeeper_a)", "nothing has a label kind"),
    ] {
        assert_eq!(said(bad), [problem], "{bad}");
    }
}
