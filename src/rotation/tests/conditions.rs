//! What a person, kstatus, Flux and Argo CD see.

use super::super::claims::Claimant;
use super::super::conditions::{Received, View};
use super::super::facts::Difference;
use super::super::life::Remark;
use super::super::observed::Observed;
use super::super::schedule::{self, Plan};
use super::super::status::present;
use super::super::time::written;
use super::*;
use crate::api::{Condition, ConditionStatus, ConditionType};
use ConditionStatus::{False, True};
use ConditionType::{Ready, Reconciling, RotationHealthy, Stalled};

/// How a settled subscription is presented.
pub(super) struct Shown {
    pub(super) status: SubscriptionStatus,
    pub(super) now: Moment,
    generation: i64,
    pub(super) reason: WaitReason,
    desired: Option<String>,
    invalid: Option<String>,
    plan: Option<Plan>,
    failing: Option<(Reason, String)>,
    list_forbidden: bool,
    remark: Option<Remark>,
    not_renewed: bool,
    drift_persists: Option<Difference>,
    happened: Option<Reason>,
    pub(super) observed: Option<Observed>,
}

impl Shown {
    pub(super) fn settled() -> Self {
        let world = World::settled();
        let plan = world.with_subject(|subject, _| {
            let spec = world.spec.as_ref().unwrap();
            schedule::planned(subject, spec, &world.profile, &world.source)
        });
        Self {
            status: world.status,
            now: world.now,
            generation: 1,
            reason: WaitReason::Settled,
            desired: Some(DIGEST.into()),
            invalid: None,
            plan,
            failing: None,
            list_forbidden: false,
            remark: None,
            not_renewed: false,
            drift_persists: None,
            happened: None,
            observed: None,
        }
    }

    fn new() -> Self {
        let mut shown = Self::settled();
        shown.status = SubscriptionStatus::default();
        shown.plan = None;
        shown
    }

    fn reason(reason: WaitReason) -> Self {
        let mut shown = Self::settled();
        shown.reason = reason;
        shown
    }

    pub(super) fn present(&self) -> SubscriptionStatus {
        let view = View {
            now: self.now,
            generation: self.generation,
            wait: &self.reason,
            desired_digest: self.desired.as_deref(),
            invalid: self.invalid.as_deref(),
            plan: self.plan.as_ref(),
            failing: self.failing.as_ref(),
            list_forbidden: self.list_forbidden,
            not_renewed: self.not_renewed,
            compared: World::settled().profile.compared(),
            remark: self.remark,
            drift_persists: self.drift_persists,
            happened: self.happened,
            received: match &self.observed {
                Some(observed) => Received::At("gupy", observed),
                None => Received::Elsewhere,
            },
        };
        let after = present(&self.status, &view);
        for condition in &after.conditions {
            assert!(!condition.message.is_empty(), "{condition:?}");
            assert_eq!(condition.observed_generation, Some(self.generation));
        }
        after
    }

    fn condition(&self, kind: ConditionType) -> Option<Condition> {
        let mut conditions = self.present().conditions;
        conditions.retain(|condition| condition.kind == kind);
        conditions.pop()
    }

    fn has(&self, kind: ConditionType) -> bool {
        self.condition(kind).is_some()
    }

    /// Status and reason of a condition.
    fn says(&self, kind: ConditionType) -> (ConditionStatus, Reason) {
        let condition = self.condition(kind).unwrap();
        (condition.status, condition.reason)
    }
}

fn refused() -> (Reason, String) {
    (Reason::TokenSourceRefused, "401".into())
}

#[test]
fn ready_is_true_exactly_when_all_three_hold() {
    assert_eq!(Shown::settled().says(Ready).0, True);
    type Change = fn(&mut Shown);
    let cases: [(&str, Change); 7] = [
        ("no id", |shown| shown.status.webhook_id = None),
        ("vanished", |shown| shown.status.missing_since = Some(at(-5))),
        ("no token", |shown| shown.status.token_fingerprint = None),
        ("dead", |shown| shown.now = moment(23 * HOUR)),
        ("other document", |shown| shown.desired = Some("x".into())),
        ("no document", |shown| shown.status.applied_digest = None),
        ("invalid", |shown| shown.invalid = Some("bad".into())),
    ];
    for (what, change) in cases {
        let mut shown = Shown::settled();
        change(&mut shown);
        assert_eq!(shown.says(Ready).0, False, "{what}");
    }
}

#[test]
fn a_failing_refresh_of_a_living_token_stays_ready_and_is_unhealthy() {
    let mut shown = Shown::reason(WaitReason::BackingOff(Reason::TokenSourceRefused, "401".into()));
    assert_eq!(shown.says(Ready).0, True);
    assert_eq!(shown.says(RotationHealthy), (False, Reason::TokenSourceRefused));
    shown.reason = WaitReason::Settled;
    shown.failing = Some((Reason::ProviderUnavailable, "503".into()));
    assert_eq!(shown.says(Ready).0, True);
    assert_eq!(shown.says(RotationHealthy), (False, Reason::ProviderUnavailable));
    assert!(!shown.has(Stalled) && !shown.has(Reconciling));
}

#[test]
fn at_expiry_ready_turns_false_whatever_else_holds() {
    let standings = [
        WaitReason::Settled,
        WaitReason::Suspended,
        WaitReason::Invalid,
        WaitReason::Awaiting(Reason::TokenSourceNotFound, "none".into()),
        WaitReason::BackingOff(Reason::RateLimited, "429".into()),
        WaitReason::Settling("soon".into()),
        WaitReason::Stalled(Reason::ProviderMismatch, "other".into()),
        WaitReason::Conflict(Claimant::Named(key("other")), None),
    ];
    for reason in standings {
        let mut shown = Shown::reason(reason.clone());
        shown.now = moment(23 * HOUR);
        assert_eq!(shown.says(Ready), (False, Reason::TokenExpired), "{reason:?}");
        shown.invalid = Some("bad".into());
        assert_eq!(shown.says(Ready), (False, Reason::TokenExpired));
        assert_eq!(shown.says(Stalled), (True, Reason::InvalidSpec));
        assert!(shown.condition(Ready).unwrap().message.contains("bad"));
    }
}

#[test]
fn suspension_leaves_ready_as_it_is_and_reconciles_nothing() {
    let mut shown = Shown::reason(WaitReason::Suspended);
    assert_eq!(shown.says(Ready).0, True);
    shown.desired = None;
    assert_eq!(shown.says(Ready).0, True, "with its provider gone as well");
    let mut new = Shown::new();
    new.reason = WaitReason::Suspended;
    assert_eq!(new.says(Ready), (False, Reason::Suspended));
    assert!(!new.has(Reconciling) && !new.has(Stalled));
}

#[test]
fn what_it_refers_to_may_go_while_the_document_is_in_place() {
    let gone = WaitReason::Awaiting(Reason::TokenSourceNotFound, "none".into());
    let shown = Shown::reason(gone);
    assert_eq!(shown.says(Ready).0, True);
    assert_eq!(shown.says(RotationHealthy), (False, Reason::TokenSourceNotFound), "and it is not hidden");
    let mut shown = Shown::settled();
    shown.status = shown.present();
    shown.reason = WaitReason::Awaiting(Reason::ProviderNotFound, "none".into());
    shown.desired = None;
    assert_eq!(shown.says(Ready).0, True, "this generation was in place");
    shown.generation = 2;
    assert_eq!(shown.says(Ready), (False, Reason::ProviderNotFound));
}

#[test]
fn what_apply_order_produces_reconciles_and_never_stalls() {
    for reason in [
        WaitReason::Awaiting(Reason::ProviderNotFound, "none".into()),
        WaitReason::Awaiting(Reason::InvalidSpec, "provider".into()),
        WaitReason::Conflict(Claimant::Named(key("old-name")), None),
        WaitReason::BackingOff(Reason::SecretNotFound, "none".into()),
        WaitReason::Settling("soon".into()),
        WaitReason::Settled,
    ] {
        let mut shown = Shown::new();
        shown.reason = reason.clone();
        let (ready, reason) = shown.says(Ready);
        assert_eq!(ready, False, "{reason:?}");
        assert_eq!(shown.says(Reconciling), (True, reason), "it carries the reason of Ready: {reason:?}");
        assert!(!shown.has(Stalled), "{reason:?}");
    }
}

#[test]
fn what_only_a_person_can_help_stalls_and_does_not_reconcile() {
    for reason in [
        Reason::AlreadyExists,
        Reason::Ambiguous,
        Reason::CreationOutcomeUnknown,
        Reason::RemoteMissing,
        Reason::ProviderMismatch,
        Reason::LifetimeUnknown,
    ] {
        let mut shown = Shown::new();
        shown.reason = WaitReason::Stalled(reason, "help".into());
        assert_eq!(shown.says(Stalled), (True, reason));
        assert_eq!(shown.says(Ready), (False, reason));
        assert!(!shown.has(Reconciling));
    }
    let invalid = Shown::reason(WaitReason::Invalid);
    assert_eq!(invalid.says(Stalled), (True, Reason::InvalidSpec));
    assert_eq!(invalid.says(Ready), (False, Reason::InvalidSpec));
}

#[test]
fn an_unknown_lifetime_is_unhealthy_too() {
    let mut shown = Shown::new();
    shown.reason = WaitReason::Stalled(Reason::LifetimeUnknown, "help".into());
    assert_eq!(shown.says(RotationHealthy), (False, Reason::LifetimeUnknown));
}

#[test]
fn the_one_that_waits_for_a_claim_names_the_other() {
    let shown = Shown::reason(WaitReason::Conflict(Claimant::Named(key("other")), Some("w1".into())));
    let ready = shown.condition(Ready).unwrap();
    assert_eq!((ready.status, ready.reason), (False, Reason::Conflict));
    assert!(ready.message.contains("default/other") && ready.message.contains("w1"));
}

#[test]
fn a_remote_elsewhere_is_not_ready_although_its_token_lives() {
    let shown = Shown::reason(WaitReason::Stalled(Reason::ProviderMismatch, "elsewhere".into()));
    assert_eq!(shown.says(Ready), (False, Reason::ProviderMismatch));
}

#[test]
fn a_source_that_renews_nothing_is_reported_when_half_the_lead_is_left() {
    let mut shown = Shown::settled();
    shown.not_renewed = true;
    // The lead is a third of 24 h.
    shown.now = moment(19 * HOUR);
    assert_eq!(shown.says(RotationHealthy), (True, Reason::Succeeded));
    shown.now = moment(19 * HOUR + 1);
    assert_eq!(shown.says(RotationHealthy), (False, Reason::TokenNotRenewed));
}

#[test]
fn health_in_the_order_of_what_matters_more() {
    let mut shown = Shown::settled();
    shown.list_forbidden = true;
    assert_eq!(shown.says(RotationHealthy), (True, Reason::ListForbidden));
    shown.plan.as_mut().unwrap().overlap_short = true;
    assert_eq!(shown.says(RotationHealthy), (True, Reason::OverlapShort));
    shown.plan.as_mut().unwrap().too_short = Some(Duration::from_millis(10));
    assert_eq!(shown.says(RotationHealthy), (False, Reason::LifetimeTooShort));
    shown.drift_persists = Some(Difference::Target);
    assert_eq!(shown.says(RotationHealthy), (False, Reason::DriftPersists));
    shown.failing = Some(refused());
    assert_eq!(shown.says(RotationHealthy), (False, Reason::TokenSourceRefused));
    assert_eq!(Shown::new().says(RotationHealthy), (ConditionStatus::Unknown, Reason::Pending));
}

#[test]
fn what_an_update_does_not_change_is_said_as_it_is() {
    let mut shown = Shown::settled();
    for (difference, message) in [
        (
            Difference::Inactive,
            "the provider shows it inactive, and an update does not change that: enable it there",
        ),
        (
            Difference::Active,
            "the provider shows it active, and an update does not change that: disable it there",
        ),
    ] {
        shown.drift_persists = Some(difference);
        assert_eq!(shown.says(RotationHealthy), (False, Reason::DriftPersists));
        assert_eq!(shown.condition(RotationHealthy).unwrap().message, message);
    }
}

#[test]
fn the_reason_of_ready_is_what_happened_last() {
    let mut shown = Shown::settled();
    shown.happened = Some(Reason::Adopted);
    assert_eq!(shown.says(Ready), (True, Reason::Adopted));
    shown.status = shown.present();
    shown.happened = None;
    assert_eq!(shown.says(Ready), (True, Reason::Adopted));
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    for reason in [
        WaitReason::Settled,
        WaitReason::Suspended,
        WaitReason::Stalled(Reason::Ambiguous, "help".into()),
        WaitReason::BackingOff(Reason::RateLimited, "429".into()),
    ] {
        let mut shown = Shown::reason(reason);
        shown.status = shown.present();
        shown.now = moment(77);
        assert_eq!(shown.present(), shown.status);
    }
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let mut shown = Shown::settled();
    shown.status = shown.present();
    shown.now = moment(60);
    shown.failing = Some(refused());
    let time = |shown: &Shown, kind| shown.condition(kind).unwrap().last_transition_time;
    assert_eq!(time(&shown, Ready), at(0));
    assert_eq!(time(&shown, RotationHealthy), at(60));
}

#[test]
fn generation_and_next_rotation_are_written_with_every_outcome() {
    let mut shown = Shown::settled();
    shown.generation = 4;
    let after = shown.present();
    assert_eq!(after.observed_generation, Some(4));
    assert_eq!(after.next_rotation_time, Some(at(15 * HOUR)));
    shown.plan = None;
    assert_eq!(shown.present().next_rotation_time, None, "a read source");
}

#[test]
fn a_rotation_that_was_asked_for_and_must_wait_says_until_when() {
    let mut shown = Shown::settled();
    // Rounded down, the time would be a promise that is not kept.
    let not_before = at(30) + chrono::TimeDelta::milliseconds(250);
    shown.reason = WaitReason::Asked { not_before };
    let status = shown.present();
    let told = format!("a rotation was asked for, not before {}", written(at(31)));
    for kind in [Ready, RotationHealthy] {
        let condition = status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        assert_eq!(condition.status, True);
        assert!(condition.message.contains(&told), "{}", condition.message);
    }
    assert_eq!(status.next_rotation_time, Some(not_before));
}

#[test]
fn what_is_odd_about_a_tokens_life_is_told_while_all_is_well() {
    let mut shown = Shown::settled();
    shown.remark = Some(Remark::AssumedAnew(Duration::from_secs(20)));
    let message = shown
        .present()
        .conditions
        .into_iter()
        .find(|condition| condition.kind == RotationHealthy)
        .map(|condition| condition.message);
    assert!(message.is_some_and(|message| message.contains("assumedLifetime (20s) began again")));
}
