//! The alerts: they say what they are to say, when they are to say it. The stories of `alerts/*.yaml`
//! are told by promtool.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::super::in_repository;
use super::{documents, files_below, promtool};

pub const RULES: &str = "charts/hookkeeper/files/alerts.yaml";
const RUNBOOKS: &str = "https://github.com/hookkeeper/hookkeeper/blob/main/deploy/runbooks";

fn groups() -> Vec<Value> {
    documents(&in_repository(RULES)).remove(0)["groups"].as_array().unwrap().clone()
}

/// All rules of the file.
pub fn rules() -> Vec<Value> {
    groups().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Whether the alert of this name is about a gate.
pub fn is_of_a_gate(alert: &str) -> bool {
    let groups = groups();
    let group = groups.iter().find(|group| group["name"] == "hookkeeper-gate").unwrap();
    group["rules"].as_array().unwrap().iter().any(|rule| name(rule) == alert)
}

fn name(rule: &Value) -> &str {
    rule["alert"].as_str().unwrap()
}

#[test]
fn they_fire_when_they_should_and_only_then() {
    let file = in_repository(RULES);
    let checked = promtool(&["check", "rules", file.to_str().unwrap()]);
    assert!(checked.stdout.contains("19 rules found"), "{}", checked.stdout);
    let stories = files_below("tests/it/packaging/alerts", ".yaml");
    assert_eq!(stories.len(), 9);
    let stories = stories.iter().map(|story| story.to_str().unwrap());
    promtool(&["test", "rules"].into_iter().chain(stories).collect::<Vec<_>>());
}

#[test]
fn each_pages_or_is_a_ticket_and_has_a_runbook() {
    let mut runbooks: BTreeSet<String> = files_below("deploy/runbooks", ".md")
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut severities = Vec::new();
    for rule in rules() {
        let name = name(&rule);
        let annotations = &rule["annotations"];
        assert_eq!(annotations["runbook_url"], format!("{RUNBOOKS}/{name}.md"));
        assert!(runbooks.remove(name), "{name} has no runbook");
        // It is said word by word in the test of what people read.
        assert!(!annotations["description"].as_str().unwrap().contains("{{"), "{name}");
        assert!(rule["for"].is_string() && rule["keep_firing_for"].is_string(), "{name}");
        severities.push((name.to_owned(), rule["labels"]["severity"].as_str().unwrap().to_owned()));
    }
    assert_eq!(runbooks, BTreeSet::new(), "runbooks without an alert");
    let severities: Vec<_> =
        severities.iter().map(|(name, severity)| (name.as_str(), severity.as_str())).collect();
    assert_eq!(
        severities,
        [
            ("HookkeeperTokenExpired", "critical"),
            ("HookkeeperExpiresSoonAndFailing", "critical"),
            ("HookkeeperNotScheduling", "critical"),
            ("HookkeeperProviderOrTokenHostDown", "critical"),
            ("HookkeeperNeedsPerson", "warning"),
            ("HookkeeperPlatformRefused", "critical"),
            ("HookkeeperWebhookRemovalNear", "critical"),
            ("HookkeeperGateCannotTakeIn", "critical"),
            ("HookkeeperApplicationDown", "critical"),
            ("HookkeeperDeliveriesLate", "warning"),
            ("HookkeeperDeliveriesParked", "warning"),
            ("HookkeeperCredentialUnusable", "warning"),
            ("HookkeeperGateBehind", "warning"),
            ("HookkeeperDeliveriesOwnerless", "warning"),
            ("HookkeeperExpectationGivenUp", "warning"),
            ("HookkeeperNoGate", "critical"),
            ("HookkeeperGateLacksToken", "warning"),
            ("HookkeeperOldTokenStillSeen", "warning"),
            ("HookkeeperTokenNotObserved", "warning"),
        ]
    );
}

/// What a person reads who is woken up.
#[test]
fn they_say_what_is_wrong_in_plain_words() {
    let series = |name: &str, labels: &str, value: u32| {
        let series = format!(r#"{name}{{job="hookkeeper", instance="a"{labels}}}"#);
        json!({"series": series, "values": format!("{value}x60")})
    };
    let leader = series("hookkeeper_leader", "", 1);
    let of_receiver = |name: &str, value: u32| series(name, r#", receiver="hr/gupy""#, value);
    let growing = |name: &str, labels: &str| {
        let series = format!(r#"{name}{{job="hookkeeper", instance="a"{labels}}}"#);
        json!({"series": series, "values": "0+1x60"})
    };
    let refused = |reason: &str| {
        let labels = format!(r#", receiver="hr/gupy", reason="{reason}""#);
        growing("hookkeeper_gate_refused_total", &labels)
    };
    // Two gates share a database with 2, and a third one has a volume with 3.
    let in_stores = |name: &str, labels: &str| {
        let places = [("a", "shared", 2), ("b", "shared", 2), ("c", "own", 3)];
        let of_place = |(instance, store, value)| {
            let series =
                format!(r#"{name}{{job="hookkeeper", instance="{instance}", store="{store}"{labels}}}"#);
            json!({"series": series, "values": format!("{value}x60")})
        };
        places.map(of_place).to_vec()
    };
    let receiver = json!({"receiver": "hr/gupy"});
    let subscriptions = |state: &str, reason: &str| {
        let labels = format!(r#", provider="hr/gupy", state="{state}", reason="{reason}""#);
        series("hookkeeper_subscriptions", &labels, 5)
    };
    let expiring =
        |labels: &str| series("hookkeeper_expiring", &format!(r#", within="1h", failing="true"{labels}"#), 2);
    let soon =
        "2 subscription(s) in namespace hr have a token that expires within an hour, and rotating it fails.";
    let in_hr = |name: &str| {
        let input = vec![leader.clone(), series(name, r#", namespace="hr""#, 2)];
        (input, json!({"namespace": "hr"}))
    };
    let (unserved, of_unserved) = in_hr("hookkeeper_receivers_without_gate");
    let (lacking, of_lacking) = in_hr("hookkeeper_gate_lacks_token");
    let (old, of_old) = in_hr("hookkeeper_old_token_still_seen");
    let (unobserved, of_unobserved) = in_hr("hookkeeper_token_unobserved");
    let rows = [
        ("HookkeeperNoGate", unserved, of_unserved, "2 receiver(s) in namespace hr have no gate."),
        (
            "HookkeeperGateLacksToken",
            lacking,
            of_lacking,
            "A gate lacks the newest token of 2 token source(s) in namespace hr.",
        ),
        (
            "HookkeeperOldTokenStillSeen",
            old,
            of_old,
            "Deliveries of 2 subscription(s) in namespace hr still carry a token that was replaced.",
        ),
        (
            "HookkeeperTokenNotObserved",
            unobserved,
            of_unobserved,
            "No delivery has come with the token in place of 2 subscription(s) in namespace hr.",
        ),
        (
            "HookkeeperTokenExpired",
            vec![leader.clone(), subscriptions("expired", "TokenSourceRefused")],
            json!({"provider": "hr/gupy"}),
            "5 subscription(s) of hr/gupy carry a token that has expired.",
        ),
        (
            "HookkeeperExpiresSoonAndFailing",
            vec![leader.clone(), expiring(r#", namespace="hr""#)],
            json!({"namespace": "hr"}),
            soon,
        ),
        (
            "HookkeeperExpiresSoonAndFailing",
            vec![leader.clone(), expiring(r#", namespace="ops", exported_namespace="hr""#)],
            json!({"namespace": "ops", "exported_namespace": "hr"}),
            soon,
        ),
        (
            "HookkeeperNotScheduling",
            vec![series("hookkeeper_leader", "", 0)],
            json!({}),
            "hookkeeper (hookkeeper) rotates nothing, or cannot see what to rotate.",
        ),
        (
            "HookkeeperProviderOrTokenHostDown",
            vec![leader.clone(), subscriptions("degraded", "ProviderUnavailable")],
            json!({"provider": "hr/gupy", "reason": "ProviderUnavailable"}),
            "The provider hr/gupy does not answer, or not as it should: 5 subscription(s) wait for it.",
        ),
        (
            "HookkeeperProviderOrTokenHostDown",
            vec![leader.clone(), subscriptions("degraded", "TokenSourceUnavailable")],
            json!({"provider": "hr/gupy", "reason": "TokenSourceUnavailable"}),
            "A token host of subscriptions of hr/gupy does not answer, or not as it should: 5 subscription(s) wait for it.",
        ),
        (
            "HookkeeperNeedsPerson",
            vec![leader, subscriptions("stalled", "InvalidSpec")],
            json!({"provider": "hr/gupy"}),
            "5 subscription(s) of hr/gupy have not been well for half an hour.",
        ),
        (
            "HookkeeperPlatformRefused",
            vec![growing("hookkeeper_gate_platform_refused_total", r#", receiver="hr/gupy""#)],
            receiver.clone(),
            "hr/gupy refuses everything that its platform sends.",
        ),
        (
            "HookkeeperWebhookRemovalNear",
            vec![of_receiver("hookkeeper_gate_refused_for_seconds", 3 * 86_400)],
            receiver.clone(),
            "hr/gupy has refused its platform for 3d 0h 0m 0s or longer; soon the webhook is removed.",
        ),
        (
            "HookkeeperGateCannotTakeIn",
            vec![refused("Store")],
            json!({"receiver": "hr/gupy", "reason": "Store"}),
            "hr/gupy answers 503 (Store): deliveries cannot be stored.",
        ),
        (
            "HookkeeperGateCannotTakeIn",
            vec![refused("CredentialUnsure")],
            json!({"receiver": "hr/gupy", "reason": "CredentialUnsure"}),
            "hr/gupy answers 503 (CredentialUnsure): deliveries cannot be proven.",
        ),
        (
            "HookkeeperApplicationDown",
            vec![of_receiver("hookkeeper_gate_paused", 1)],
            receiver.clone(),
            "The application behind hr/gupy has taken no deliveries for ten minutes.",
        ),
        (
            "HookkeeperDeliveriesLate",
            vec![of_receiver("hookkeeper_gate_oldest_pending_seconds", 7_200)],
            receiver.clone(),
            "A delivery of hr/gupy has waited for 2h 0m 0s.",
        ),
        (
            "HookkeeperDeliveriesParked",
            vec![of_receiver("hookkeeper_gate_parked_now", 3)],
            receiver.clone(),
            "3 delivery(s) of hr/gupy are parked.",
        ),
        (
            "HookkeeperDeliveriesParked",
            in_stores("hookkeeper_gate_parked_now", r#", receiver="hr/gupy""#),
            receiver.clone(),
            "5 delivery(s) of hr/gupy are parked.",
        ),
        (
            "HookkeeperDeliveriesOwnerless",
            in_stores("hookkeeper_gate_ownerless", ""),
            json!({}),
            "5 delivery(s) belong to receivers that are gone.",
        ),
        (
            "HookkeeperCredentialUnusable",
            vec![of_receiver("hookkeeper_gate_credentials_unusable", 1)],
            receiver,
            "1 credential(s) of hr/gupy cannot be used.",
        ),
        (
            "HookkeeperGateBehind",
            vec![growing("hookkeeper_gate_behind_total", "")],
            json!({}),
            "hookkeeper (hookkeeper) brought a token into subscriptions that the gate had not taken in.",
        ),
        (
            "HookkeeperDeliveriesOwnerless",
            vec![series("hookkeeper_gate_ownerless", "", 2)],
            json!({}),
            "2 delivery(s) belong to receivers that are gone.",
        ),
        (
            "HookkeeperExpectationGivenUp",
            vec![growing("hookkeeper_gate_asked_total", r#", receiver="hr/gupy", outcome="GivenUp""#)],
            json!({"receiver": "hr/gupy"}),
            "The platform of hr/gupy has neither delivered nor said something that an application waits for.",
        ),
    ];
    let rules = rules();
    let tests: Vec<Value> = rows
        .into_iter()
        .map(|(alert, input, labels, summary)| {
            let rule = rules.iter().find(|rule| name(rule) == alert).unwrap();
            let mut annotations = rule["annotations"].clone();
            annotations["summary"] = summary.into();
            let mut expected = json!({"severity": rule["labels"]["severity"], "job": "hookkeeper"});
            expected.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
            json!({
                "interval": "1m",
                "input_series": input,
                "alert_rule_test": [{
                    "eval_time": "50m",
                    "alertname": alert,
                    "exp_alerts": [{"exp_labels": expected, "exp_annotations": annotations}],
                }],
            })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages.yaml");
    let story = json!({"rule_files": [in_repository(RULES)], "evaluation_interval": "1m", "tests": tests});
    fs::write(&file, story.to_string()).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()]);
}
