//! One subscription in the engine's state, kept small.
//!
//! A waiting subscription is kept as its JSON and read again when its time comes: the typed form
//! takes several times the bytes, and it is needed for microseconds a day. Beside the JSON stands
//! only what must be known without reading it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::evidence::Received;
use super::ids::{ProviderId, SourceId};
use super::namespaces::NamespaceId;
use super::ready::Place;
use super::timers::Milliseconds;
use crate::api::{
    ConditionStatus, ConditionType, Identity, ObjectKey, Reason, SubscriptionStatus, WebhookSubscriptionSpec,
};
use crate::rotation::facts::{Difference, Memory};
use crate::rotation::inventory::Listed;
use crate::rotation::observed::Observed;
use crate::rotation::target::{Likeness, Target};
use crate::rotation::wait::Wait;

/// One that failed so often in a row shares a part of the budget with others of its kind.
const KEEPS_FAILING: u32 = 3;

/// A subscription, read from its compact form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) identity: Identity,
    /// The last valid version this process has seen.
    pub(super) spec: Option<WebhookSubscriptionSpec>,
    pub(super) status: SubscriptionStatus,
}

/// How a subscription is kept.
#[derive(Debug)]
enum Kept {
    /// As JSON, while it waits.
    Packed(Box<[u8]>),
    /// As it is, while it is being worked on and will be needed again at once.
    Open(Box<Object>),
}

/// What is done for a subscription at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing.
    None,
    /// A call or a record is under way; nothing else is begun meanwhile.
    Busy,
}

/// Numbers for the metrics, without reading the JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub(super) state: &'static str,
    pub(super) reason: Reason,
    pub(super) expires: Option<i64>,
    pub(super) due: Option<i64>,
    /// Whether a rotation of it counts for the metrics: not suspended, active.
    pub(super) watched: bool,
}

/// What a listing must show for nothing to be done, so that a hundred thousand subscriptions can be
/// compared without reading their JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Digest of the recorded id, as a listing has it.
    pub(super) id: u64,
    /// What it is about.
    pub(super) target: Target,
    /// Whether the provider is to deliver.
    pub(super) active: bool,
    /// Whether Secrets must be compared too.
    pub(super) secrets: bool,
    /// Whether an update did not find it: that it is shown again is news.
    pub(super) missing: bool,
    /// Whether a listing is needed to tell what became of it or of a create.
    pub(super) unsure: bool,
    /// When it was applied last, in epoch milliseconds: an earlier listing says nothing about it.
    pub(super) applied: i64,
}

impl Expected {
    /// How what a listing shows differs from it.
    pub(super) fn difference(&self, listed: &Listed) -> Option<Difference> {
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
pub(super) struct Entry {
    pub(super) key: ObjectKey,
    kept: Kept,
    /// The rule that the current version breaks.
    pub(super) invalid: Option<Box<str>>,
    /// Whether its deletion was asked for and the engine is to carry it out.
    pub(super) gone: bool,
    /// Whether what its deletion asks for is done, and nothing but its finalizer was to go.
    pub(super) let_go: bool,
    pub(super) provider: ProviderId,
    pub(super) source: Option<SourceId>,
    pub(super) namespace: NamespaceId,
    memory: Option<Box<Memory>>,
    pub(super) minted_boot: Option<Duration>,
    pub(super) work: Work,
    /// The origin at which it takes a call's place, until the call has ended.
    pub(super) calling: Option<Arc<str>>,
    /// Whether it counts as a member of its source.
    pub(super) member: bool,
    /// Whether its deletion will need its provider.
    pub(super) holds: bool,
    /// Something changed while it was being worked on.
    pub(super) dirty: bool,
    pub(super) timer: Option<Milliseconds>,
    pub(super) place: Option<Place>,
    /// The status is not durable: when to try again, and how often that failed.
    pub(super) unrecorded: Option<(Wait, u32)>,
    /// Hashes under which it claims remotes.
    pub(super) claims: [Option<u64>; 2],
    /// What a listing must show for nothing to be done.
    pub(super) expected: Option<Expected>,
    /// The receiver that takes its deliveries in, where it names one.
    pub(super) received: Option<Box<Received>>,
    /// Fingerprint it carries as a member of its source.
    pub(super) carried: Option<Arc<str>>,
    pub(super) summary: Summary,
    /// A new object of the same name that came while this one was being worked on.
    pub(super) successor: Option<Box<Change>>,
}

impl Entry {
    pub(super) fn new(object: &Object, key: ObjectKey, provider: ProviderId, namespace: NamespaceId) -> Self {
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
            work: Work::None,
            calling: None,
            member: false,
            holds: false,
            dirty: false,
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
    pub(super) fn object(&self) -> Option<Object> {
        match &self.kept {
            Kept::Packed(bytes) => serde_json::from_slice(bytes).ok(),
            Kept::Open(object) => Some((**object).clone()),
        }
    }

    pub(super) fn store(&mut self, object: &Object) {
        self.kept = Kept::Open(Box::new(object.clone()));
        self.summary = summary(object);
    }

    /// It will not be needed for a while: from now on it takes few bytes.
    pub(super) fn pack(&mut self) {
        if let Kept::Open(object) = &self.kept
            && let Ok(bytes) = serde_json::to_vec(object)
        {
            self.kept = Kept::Packed(bytes.into_boxed_slice());
        }
    }

    pub(super) fn memory(&self) -> Memory {
        let mut memory = self.memory.as_deref().cloned().unwrap_or_default();
        memory.minted_boot = self.minted_boot;
        memory
    }

    /// How often in a row it failed.
    pub(super) fn failures(&self) -> u32 {
        self.memory.as_ref().map_or(0, |memory| memory.failures)
    }

    /// What has been seen of its tokens, where anything has.
    pub(super) fn observed(&self) -> Option<&Observed> {
        self.memory.as_ref().map(|memory| &memory.observed)
    }

    /// Whether its token is from another source than it is to be from now on.
    pub(super) fn carries_a_strangers_token(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.strangers_token)
    }

    /// Whether it has failed so often in a row that this says something of itself alone.
    pub(super) fn keeps_failing(&self) -> bool {
        let with_others = self.memory.as_ref().is_some_and(|memory| memory.failed_with_others);
        self.failures() >= KEEPS_FAILING && !with_others
    }

    /// Changes what is remembered; nothing is kept where there is nothing to remember.
    pub(super) fn remember(&mut self, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.memory.take().map_or_else(Memory::default, |memory| *memory);
        change(&mut memory);
        memory.minted_boot = None;
        if memory != Memory::default() {
            self.memory = Some(Box::new(memory));
        }
    }

    /// Whether an update did not find this id, which the spec gives and no record confirms.
    pub(super) fn is_not_there(&self, id: &str) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.not_there.as_deref() == Some(id))
    }

    /// Whether nothing out of the ordinary is remembered.
    pub(super) fn is_calm(&self) -> bool {
        self.memory.as_ref().is_none_or(|memory| {
            memory.drift.is_none()
                && !memory.absent
                && memory.lacked_since.is_none()
                && memory.duplicate_check.is_none()
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.work == Work::Busy
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
