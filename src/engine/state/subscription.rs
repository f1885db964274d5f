//! One subscription in the engine's state, kept small.
//!
//! A waiting subscription is kept as its JSON and read again when its time comes: the typed form
//! takes several times the bytes, and it is needed for microseconds a day. Beside the JSON stands
//! only what must be known without reading it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::api::{
    ConditionStatus, ConditionType, Declared, Identity, ObjectKey, Reason, SubscriptionStatus,
    WebhookSubscriptionSpec,
};
use crate::engine::change::Change;
use crate::engine::ids::{ProviderId, SourceId};
use crate::engine::queue::call_place::CallPlace;
use crate::engine::queue::line::Place;
use crate::engine::queue::timers::Milliseconds;
use crate::engine::state::reception::Reception;
use crate::rotation::facts::{Difference, Memory};
use crate::rotation::inventory::Listed;
use crate::rotation::observed::Observed;
use crate::rotation::target::{Likeness, Target};
use crate::rotation::wait::Wait;
use crate::shares::NamespaceId;

/// One that failed so often in a row shares a part of the budget with others of its kind.
const KEEPS_FAILING: u32 = 3;

/// A subscription, read from its compact form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) identity: Identity,
    /// The last valid version this process has seen.
    pub(crate) spec: Option<WebhookSubscriptionSpec>,
    pub(crate) status: SubscriptionStatus,
}

/// How a subscription is kept.
#[derive(Debug)]
enum Kept {
    /// As JSON, while it waits.
    Packed(Box<[u8]>),
    /// As it is, while it is being worked on and will be needed again at once.
    Open(Box<Object>),
}

/// Numbers for the metrics, without reading the JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) state: &'static str,
    pub(crate) reason: Reason,
    pub(crate) expires: Option<i64>,
    pub(crate) due: Option<i64>,
    /// Whether a rotation of it counts for the metrics: not suspended, active.
    pub(crate) watched: bool,
}

/// What a listing must show for nothing to be done, so that a hundred thousand subscriptions can be
/// compared without reading their JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Digest of the recorded id, as a listing has it.
    pub(crate) id: u64,
    /// What it is about.
    pub(crate) target: Target,
    /// Whether the provider is to deliver.
    pub(crate) active: bool,
    /// Whether Secrets must be compared too.
    pub(crate) secrets: bool,
    /// Whether an update did not find it: that it is shown again is news.
    pub(crate) missing: bool,
    /// Whether a listing is needed to tell what became of it or of a create.
    pub(crate) unsure: bool,
    /// When it was applied last, in epoch milliseconds: an earlier listing says nothing about it.
    pub(crate) applied: i64,
}

impl Expected {
    /// How what a listing shows differs from it.
    pub(crate) fn difference(&self, listed: &Listed) -> Option<Difference> {
        if self.target.likeness(listed.target) == Likeness::Different {
            return Some(Difference::Target);
        }
        match listed.active {
            Some(false) if self.active => Some(Difference::Inactive),
            Some(true) if !self.active => Some(Difference::Active),
            _ => None,
        }
    }
}

/// One subscription in the engine's state.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: ObjectKey,
    kept: Kept,
    /// The rule that the current version breaks.
    pub(crate) invalid: Option<Box<str>>,
    /// Whether its deletion was asked for and the engine is to carry it out.
    pub(crate) gone: bool,
    /// Whether what its deletion asks for is done, and nothing but its finalizer was to go.
    pub(crate) let_go: bool,
    pub(crate) provider: ProviderId,
    pub(crate) source: Option<SourceId>,
    pub(crate) namespace: NamespaceId,
    memory: Option<Box<Memory>>,
    pub(crate) minted_boot: Option<Duration>,
    /// A call or a record is under way; nothing else is begun meanwhile.
    pub(crate) busy: bool,
    /// What its call takes, until that has ended.
    pub(crate) calling: Option<Box<CallPlace>>,
    /// Whether it counts as a member of its source.
    pub(crate) member: bool,
    /// Whether its deletion will need its provider.
    pub(crate) holds: bool,
    pub(crate) timer: Option<Milliseconds>,
    pub(crate) place: Option<Place>,
    /// The status is not durable: when to try again, and how often that failed.
    pub(crate) unrecorded: Option<(Wait, u32)>,
    /// Hashes under which it claims remotes.
    pub(crate) claims: [Option<u64>; 2],
    /// What a listing must show for nothing to be done.
    pub(crate) expected: Option<Expected>,
    /// The receiver that takes its deliveries in, where it names one.
    pub(crate) received: Option<Box<Reception>>,
    /// Fingerprint it carries as a member of its source.
    pub(crate) carried: Option<Arc<str>>,
    pub(crate) summary: Summary,
    /// A new object of the same name that came while this one was being worked on.
    pub(crate) successor: Option<Box<Change>>,
}

impl Entry {
    pub(crate) fn new(object: &Object, key: ObjectKey, provider: ProviderId, namespace: NamespaceId) -> Self {
        let mut entry = Self {
            key,
            kept: Kept::Packed(Box::default()),
            invalid: None,
            gone: false,
            let_go: false,
            provider,
            source: None,
            namespace,
            memory: None,
            minted_boot: None,
            busy: false,
            calling: None,
            member: false,
            holds: false,
            timer: None,
            place: None,
            unrecorded: None,
            claims: [None, None],
            expected: None,
            received: None,
            carried: None,
            summary: Summary {
                state: "degraded",
                reason: Reason::Pending,
                expires: None,
                due: None,
                watched: false,
            },
            successor: None,
        };
        entry.store(object);
        entry.pack();
        entry
    }

    /// Reads the subscription. `None` can only mean a fault of our own, and the caller reports it.
    pub(crate) fn object(&self) -> Option<Object> {
        match &self.kept {
            Kept::Packed(bytes) => serde_json::from_slice(bytes).ok(),
            Kept::Open(object) => Some((**object).clone()),
        }
    }

    pub(crate) fn store(&mut self, object: &Object) {
        self.kept = Kept::Open(Box::new(object.clone()));
        self.summary = summary(object);
    }

    /// It will not be needed for a while: from now on it takes few bytes.
    pub(crate) fn pack(&mut self) {
        if let Kept::Open(object) = &self.kept
            && let Ok(bytes) = serde_json::to_vec(object)
        {
            self.kept = Kept::Packed(bytes.into_boxed_slice());
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        let mut memory = self.memory.as_deref().cloned().unwrap_or_default();
        memory.minted_boot = self.minted_boot;
        memory
    }

    /// How often in a row it failed.
    pub(crate) fn failures(&self) -> u32 {
        self.memory.as_ref().map_or(0, |memory| memory.failures)
    }

    /// What has been seen of its tokens, where anything has.
    pub(crate) fn observed(&self) -> Option<&Observed> {
        self.memory.as_ref().map(|memory| &memory.observed)
    }

    /// Whether its token is from another source than it is to be from now on.
    pub(crate) fn carries_a_strangers_token(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.strangers_token)
    }

    /// Whether it has failed so often in a row that this says something of itself alone.
    pub(crate) fn keeps_failing(&self) -> bool {
        let with_others = self.memory.as_ref().is_some_and(|memory| memory.failed_with_others);
        self.failures() >= KEEPS_FAILING && !with_others
    }

    /// Changes what is remembered; nothing is kept where there is nothing to remember.
    pub(crate) fn remember(&mut self, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.memory.take().map_or_else(Memory::default, |memory| *memory);
        change(&mut memory);
        memory.minted_boot = None;
        if memory != Memory::default() {
            self.memory = Some(Box::new(memory));
        }
    }

    /// Whether an update did not find this id, which the spec gives and no record confirms.
    pub(crate) fn is_not_there(&self, id: &str) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.not_there.as_deref() == Some(id))
    }

    /// Whether nothing out of the ordinary is remembered.
    pub(crate) fn is_calm(&self) -> bool {
        self.memory.as_ref().is_none_or(|memory| {
            memory.drift.is_none()
                && !memory.absent
                && memory.lacked_since.is_none()
                && memory.duplicate_check.is_none()
        })
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }
}

fn summary(object: &Object) -> Summary {
    let condition = |kind| object.status.conditions.iter().find(|condition| condition.kind == kind);
    let spec = object.spec.as_ref();
    let ready = condition(ConditionType::Ready);
    let health = condition(ConditionType::RotationHealthy);
    let stalled = condition(ConditionType::Stalled);
    let is = |condition: Option<&crate::api::Condition>, status| {
        condition.is_some_and(|condition| condition.status == status)
    };
    let reason =
        |condition: Option<&crate::api::Condition>| condition.map_or(Reason::Pending, |ready| ready.reason);
    let is_inactive = spec.is_some_and(|spec| !spec.is_active());
    let (state, reason) = if spec.is_some_and(WebhookSubscriptionSpec::is_suspended) {
        ("suspended", Reason::Suspended)
    } else if reason(ready) == Reason::TokenExpired && !is_inactive {
        // That deliveries are refused is what matters most; the reason says why it came to that.
        let why = stalled.or(health.filter(|health| health.status == ConditionStatus::False));
        ("expired", why.map_or(Reason::TokenExpired, |why| why.reason))
    } else if is(stalled, ConditionStatus::True) {
        ("stalled", reason(stalled))
    } else if is(ready, ConditionStatus::True) && !is(health, ConditionStatus::False) {
        ("ready", reason(ready))
    } else if is(ready, ConditionStatus::True) {
        ("degraded", reason(health))
    } else {
        ("degraded", reason(ready))
    };
    let milliseconds = |time: DateTime<Utc>| time.timestamp_millis();
    Summary {
        state,
        reason,
        expires: object.status.token_expiration_time.map(milliseconds),
        due: object.status.next_rotation_time.map(milliseconds),
        watched: spec.is_some_and(|spec| spec.is_active() && !spec.is_suspended()),
    }
}

/// The declared form and the stored form of a subscription differ by one thing: a stored one may
/// have no valid version.
impl From<Declared<WebhookSubscriptionSpec, crate::api::SubscriptionStatus>> for Object {
    fn from(declared: Declared<WebhookSubscriptionSpec, crate::api::SubscriptionStatus>) -> Self {
        Self { identity: declared.identity, spec: Some(declared.spec), status: declared.status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Condition;

    fn object(spec: &str, conditions: &[(ConditionType, ConditionStatus, Reason)]) -> Object {
        let condition = |(kind, status, reason): &(ConditionType, ConditionStatus, Reason)| Condition {
            kind: *kind,
            status: *status,
            reason: *reason,
            message: "a message".into(),
            observed_generation: None,
            last_transition_time: DateTime::UNIX_EPOCH,
        };
        let status = SubscriptionStatus {
            conditions: conditions.iter().map(condition).collect(),
            ..SubscriptionStatus::default()
        };
        let spec = format!(
            r#"{{"providerRef": {{"name": "gupy"}}, "action": "a", "postbackUrl": "https://example.com/"{spec}}}"#
        );
        Object {
            identity: serde_json::from_str(
                r#"{"key": {"namespace": "hr", "name": "a"}, "uid": "", "generation": 1}"#,
            )
            .unwrap(),
            spec: Some(serde_json::from_str(&spec).unwrap()),
            status,
        }
    }

    #[test]
    fn the_worst_is_counted_and_its_reason_says_why() {
        use ConditionStatus::{False, True};
        use ConditionType::{Ready, RotationHealthy, Stalled};
        let refused = (RotationHealthy, False, Reason::ProviderRefusedDocument);
        let ended = (Ready, False, Reason::TokenExpired);
        let invalid = (Stalled, True, Reason::InvalidSpec);
        let works = (Ready, True, Reason::Rotated);
        for (spec, conditions, wanted) in [
            ("", vec![works], ("ready", Reason::Rotated)),
            ("", vec![works, refused], ("degraded", Reason::ProviderRefusedDocument)),
            ("", vec![works, invalid], ("stalled", Reason::InvalidSpec)),
            ("", vec![ended], ("expired", Reason::TokenExpired)),
            ("", vec![ended, refused], ("expired", Reason::ProviderRefusedDocument)),
            ("", vec![ended, invalid, refused], ("expired", Reason::InvalidSpec)),
            (r#", "active": false"#, vec![ended], ("degraded", Reason::TokenExpired)),
            (r#", "suspend": true"#, vec![ended], ("suspended", Reason::Suspended)),
        ] {
            let summary = summary(&object(spec, &conditions));
            assert_eq!((summary.state, summary.reason), wanted, "{spec} {conditions:?}");
        }
    }
}
