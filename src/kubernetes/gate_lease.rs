//! What a gate process says of itself in a `Lease` of its own: which sources it serves, and which of their
//! tokens it accepts. The gate writes it, the controller reads it.
//!
//! | where | what |
//! |---|---|
//! | name, `spec.holderIdentity` | the name of the gate |
//! | label [`GATE_LABEL`] | marks it as a gate's |
//! | annotation [`HELD_TOKENS_ANNOTATION`] | `{"NAMESPACE/SOURCE": ["FINGERPRINT"]}` |
//! | `spec.renewTime` | for people; whoever judges counts from when it saw the Lease change |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;

use crate::api::ObjectKey;

/// The label that marks the Lease of a gate; its value is [`GATE_LABEL_VALUE`].
pub const GATE_LABEL: &str = "hookkeeper.dev/gate";
/// The value of [`GATE_LABEL`].
pub const GATE_LABEL_VALUE: &str = "true";
/// The annotation that says which tokens a gate accepts, by source.
pub const HELD_TOKENS_ANNOTATION: &str = "hookkeeper.dev/held-tokens";
/// How often a gate renews its Lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long a gate counts as live after its Lease was seen to change last.
pub const LIVE_FOR: Duration = Duration::from_secs(30);
/// How many fingerprints of one source are told at most: the newest.
pub const MOST_HELD: usize = 8;

/// Longest annotation in bytes: an object's annotations together may have 256 KiB.
const LONGEST: usize = 200 * 1024;
/// Longest fingerprint that is believed.
const LONGEST_FINGERPRINT: usize = 64;
/// The member that says that there are sources of which nothing is said.
const OTHERS: &str = "";
const INCOMPLETE: &str = "incomplete";

/// Begins the name of a gate as a writer of fields.
const MANAGER_PREFIX: &str = "hookkeeper-gate-";
/// The longest name of a manager, by the API server's rule.
const LONGEST_MANAGER: usize = 128;

/// The name of a gate as a writer of fields.
///
/// A gate's name may be longer than the API server lets this one be; then it is cut, and a digest of the
/// whole keeps two of them apart.
#[must_use]
pub fn field_manager(gate: &str) -> String {
    let whole = format!("{MANAGER_PREFIX}{gate}");
    if whole.len() <= LONGEST_MANAGER {
        return whole;
    }
    let digest = crate::rotation::target::short_digest(&[gate]);
    let mut end = LONGEST_MANAGER - digest.len() - 1;
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{digest}", &whole[..end])
}

/// The Pod that a gate runs in, which owns its Lease: with the Pod goes the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwningPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What one gate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateRecord {
    /// Its name.
    pub gate: String,
    /// The sources that it serves, with the fingerprints of the tokens that it accepts; at most
    /// [`MOST_HELD`] of each are meant to be here.
    pub serves: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// Whether these are all sources that it serves.
    pub is_complete: bool,
}

/// Why a Lease says nothing of a gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAGate {
    /// It lacks the label, or a name.
    #[error("the Lease has no label {GATE_LABEL}: \"{GATE_LABEL_VALUE}\"")]
    Unmarked,
    /// Its holder is not the gate that it is named after.
    #[error("the Lease is held by {holder:?}, and is named after another gate")]
    HeldByAnother {
        /// Who holds it.
        holder: String,
    },
    /// What it says cannot be read.
    #[error("the annotation {HELD_TOKENS_ANNOTATION} cannot be read: {problem}")]
    Unreadable {
        /// What is wrong with it.
        problem: String,
    },
}

impl GateRecord {
    /// The value of [`HELD_TOKENS_ANNOTATION`]. At most 200 KiB: sources that do not fit are left out, of
    /// each namespace in turn, and it says so.
    #[must_use]
    pub fn annotation(&self) -> String {
        let mut members = BTreeMap::new();
        let incomplete = member(OTHERS, &[INCOMPLETE]).len();
        // The braces.
        let mut length = 2 + incomplete;
        let mut is_complete = self.is_complete;
        for (source, held) in self.in_turns() {
            let held: Vec<&str> = held.iter().map(String::as_str).collect();
            let name = source.to_string();
            let written = member(&name, &held);
            // With its comma.
            if length + written.len() + 1 > LONGEST {
                is_complete = false;
                break;
            }
            length += written.len() + 1;
            members.insert(name, written);
        }
        if !is_complete {
            members.insert(OTHERS.to_owned(), member(OTHERS, &[INCOMPLETE]));
        }
        format!("{{{}}}", members.into_values().collect::<Vec<_>>().join(","))
    }

    /// The sources, one of each namespace after the other.
    fn in_turns(&self) -> Vec<(&ObjectKey, &BTreeSet<String>)> {
        let mut namespaces: BTreeMap<&str, VecDeque<_>> = BTreeMap::new();
        for one in &self.serves {
            namespaces.entry(&one.0.namespace).or_default().push_back(one);
        }
        let mut waiting: VecDeque<VecDeque<_>> = namespaces.into_values().collect();
        let mut all = Vec::with_capacity(self.serves.len());
        while let Some(mut namespace) = waiting.pop_front() {
            if let Some(one) = namespace.pop_front() {
                all.push(one);
                waiting.push_back(namespace);
            }
        }
        all
    }

    /// The Lease of this gate, as it is applied.
    #[must_use]
    pub fn lease(&self, pod: Option<&OwningPod>, renewed: DateTime<Utc>) -> Lease {
        let owner = pod.map(|pod| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            ..OwnerReference::default()
        });
        let renewed = Timestamp::from_microsecond(renewed.timestamp_micros()).ok().map(MicroTime);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.gate.clone()),
                labels: Some([(GATE_LABEL.to_owned(), GATE_LABEL_VALUE.to_owned())].into()),
                annotations: Some([(HELD_TOKENS_ANNOTATION.to_owned(), self.annotation())].into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.gate.clone()),
                lease_duration_seconds: i32::try_from(LIVE_FOR.as_secs()).ok(),
                renew_time: renewed,
                ..LeaseSpec::default()
            }),
        }
    }

    /// What a Lease says of a gate.
    ///
    /// # Errors
    /// When it is no gate's, or what it says cannot be read.
    pub fn of(lease: &Lease) -> Result<Self, NotAGate> {
        let metadata = &lease.metadata;
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(GATE_LABEL));
        let gate = metadata.name.clone().filter(|_| label.is_some_and(|value| value == GATE_LABEL_VALUE));
        let gate = gate.ok_or(NotAGate::Unmarked)?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        if holder != gate {
            return Err(NotAGate::HeldByAnother { holder });
        }
        let annotation = metadata.annotations.as_ref().and_then(|all| all.get(HELD_TOKENS_ANNOTATION));
        let unreadable = |problem: &str| NotAGate::Unreadable { problem: problem.to_owned() };
        let text = annotation.ok_or_else(|| unreadable("it is missing"))?;
        let members: BTreeMap<String, BTreeSet<String>> =
            serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
        let mut record = Self { gate, serves: BTreeMap::new(), is_complete: true };
        for (name, held) in members {
            if name == OTHERS {
                record.is_complete = false;
                continue;
            }
            let source = name
                .split_once('/')
                .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
            let (namespace, source) = source.ok_or_else(|| unreadable("a member is no NAMESPACE/SOURCE"))?;
            if held.len() > MOST_HELD || held.iter().any(|one| one.len() > LONGEST_FINGERPRINT) {
                return Err(unreadable("a source has too many fingerprints, or too long ones"));
            }
            record.serves.insert(ObjectKey::new(namespace, source), held);
        }
        Ok(record)
    }
}

/// One member of the annotation's object.
fn member(name: &str, held: &[&str]) -> String {
    // Strings: writing them cannot fail.
    let write = |value: serde_json::Value| value.to_string();
    format!("{}:{}", write(name.into()), write(held.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sources: &[(&str, &str, &[&str])]) -> GateRecord {
        let serves = sources.iter().map(|(namespace, name, held)| {
            (ObjectKey::new(namespace, name), held.iter().map(|one| (*one).to_owned()).collect())
        });
        GateRecord { gate: "gate-0".to_owned(), serves: serves.collect(), is_complete: true }
    }

    fn renewed() -> DateTime<Utc> {
        "2026-11-27T15:00:00.25Z".parse().unwrap()
    }

    #[test]
    fn what_is_said_is_read_back() {
        let said = record(&[("hr", "gupy", &["b", "a"]), ("hr", "new", &[]), ("ops", "gupy", &["c"])]);
        assert_eq!(said.annotation(), r#"{"hr/gupy":["a","b"],"hr/new":[],"ops/gupy":["c"]}"#);
        let pod = OwningPod { name: "gate-0".to_owned(), uid: "u".to_owned() };
        let lease = said.lease(Some(&pod), renewed());
        assert_eq!(GateRecord::of(&lease), Ok(said.clone()));
        let written = serde_json::to_value(&lease).unwrap();
        assert_eq!(written["spec"]["renewTime"], "2026-11-27T15:00:00.250000Z");
        assert_eq!(written["spec"]["leaseDurationSeconds"], 30);
        assert_eq!(written["spec"]["holderIdentity"], "gate-0");
        assert_eq!(written["metadata"]["labels"], serde_json::json!({ "hookkeeper.dev/gate": "true" }));
        assert_eq!(written["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(said.lease(None, renewed()).metadata.owner_references, None);
        let nothing = GateRecord { is_complete: false, ..record(&[]) };
        assert_eq!(nothing.annotation(), r#"{"":["incomplete"]}"#);
        assert_eq!(GateRecord::of(&nothing.lease(None, renewed())), Ok(nothing));
    }

    #[test]
    fn what_does_not_fit_is_left_out_of_each_namespace_in_turn_and_this_is_said() {
        let held = ["0123456789abcdef"; 1];
        let names: Vec<String> = (0..20_000).map(|number| format!("source-{number:05}")).collect();
        let mut sources: Vec<(&str, &str, &[&str])> =
            names.iter().map(|name| ("flooding", name.as_str(), &held[..])).collect();
        sources.extend(names[..100].iter().map(|name| ("modest", name.as_str(), &held[..])));
        let annotation = record(&sources).annotation();
        assert!(annotation.len() <= LONGEST && annotation.len() > LONGEST - 100, "{}", annotation.len());
        let mut lease = record(&[]).lease(None, renewed());
        lease.metadata.annotations = Some([(HELD_TOKENS_ANNOTATION.to_owned(), annotation)].into());
        let read = GateRecord::of(&lease).unwrap();
        assert!(!read.is_complete);
        let modest = read.serves.keys().filter(|source| *source.namespace == *"modest").count();
        assert_eq!(modest, 100);
        assert!(read.serves.len() > 3_000, "{}", read.serves.len());
    }

    #[test]
    fn what_is_no_gates_or_cannot_be_read_is_refused() {
        let good = record(&[("hr", "gupy", &["a"])]).lease(None, renewed());
        let mut unmarked = good.clone();
        unmarked.metadata.labels = Some([(GATE_LABEL.to_owned(), "false".to_owned())].into());
        assert_eq!(GateRecord::of(&unmarked), Err(NotAGate::Unmarked));
        let mut released = good.clone();
        released.spec = None;
        assert_eq!(GateRecord::of(&released), Err(NotAGate::HeldByAnother { holder: String::new() }));
        let many =
            format!("{{\"hr/gupy\":{:?}}}", (0..9).map(|number| number.to_string()).collect::<Vec<_>>());
        let long = format!("{{\"hr/gupy\":[{:?}]}}", "f".repeat(65));
        for text in
            ["", "[]", "{\"gupy\":[]}", "{\"/gupy\":[]}", "{\"a/b/c\":[]}", "{\"hr/gupy\":[1]}", &many, &long]
        {
            let mut lease = good.clone();
            lease.metadata.annotations = Some([(HELD_TOKENS_ANNOTATION.to_owned(), text.to_owned())].into());
            assert!(matches!(GateRecord::of(&lease), Err(NotAGate::Unreadable { .. })), "{text}");
        }
        let mut silent = good;
        silent.metadata.annotations = None;
        assert!(matches!(GateRecord::of(&silent), Err(NotAGate::Unreadable { .. })));
    }

    #[test]
    fn a_manager_is_named_after_its_gate_and_no_longer_than_the_server_allows() {
        assert_eq!(field_manager("gate-0"), "hookkeeper-gate-gate-0");
        let long = |last: &str| field_manager(&format!("{}{last}", "a".repeat(200)));
        assert_eq!(long("x").len(), LONGEST_MANAGER);
        assert_ne!(long("x"), long("y"));
    }
}
