//! The rules, one test for each sentence.
//!
//! [`World`] is a subscription with which all is well: created by us, a token of 24 h minted an
//! hour ago. A test changes what its sentence is about and asks for the step.

mod conditions;
mod creation;
mod deletion;
mod due;
mod find;
mod missing;
mod observed;
mod order;
mod properties;
mod status;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::backoff::attempt_inputs;
use super::decide;
use super::facts::{
    Facts, HeldBack, ListingView, Memory, OwnerOf, ProviderFact, ProviderProfile, SourceFact, SourceState,
    Subject,
};
use super::inventory::Listed;
use super::life::HeldToken;
use super::step::{Step, TokenChoice, WaitReason, Why};
use super::target::{Recorded, Target};
use super::time::Moment;
use super::wait::Wait;
use crate::api::{
    CreationRecord, Identity, ObjectKey, Ownership, Reason, SubscriptionStatus, WebhookSubscriptionSpec,
};

const HOUR: i64 = 3_600;
const SETTLE: i64 = 300;
const ORIGIN: &str = "https://api.example.com";
const DIGEST: &str = "digest";
/// The applied token's fingerprint.
const OLD: &str = "old";
/// The newer token's.
const NEW: &str = "new";

/// So many seconds after the present of these tests.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn moment(seconds: i64) -> Moment {
    Moment { wall: at(seconds), boot: Duration::from_secs(u64::try_from(1_000_000 + seconds).unwrap()) }
}

fn wait(from: i64, until: i64) -> Wait {
    Wait { from: at(from), until: at(until) }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

const URL: &str = "https://hooks.example.com/in";
/// A target that nobody wants any more, as a creation record has it.
const RECORDED: &str = "00000000000000aa-00000000000000bb";

fn wanted() -> String {
    Target::new(Some("job.published"), URL).to_string()
}

/// What a listing shows: a target as a record has it, or any other text for something else.
fn shows(target: &str) -> Listed {
    let target = match Recorded::read(target) {
        Some(Recorded::Target(target)) => target,
        _ => Target::new(Some(target), target),
    };
    Listed { target, former: [0, 1], active: Some(true) }
}

#[derive(Clone, Debug, Default)]
struct Claims(BTreeMap<String, ObjectKey>);

impl OwnerOf for Claims {
    fn owner(&self, id: &str) -> Option<&ObjectKey> {
        self.0.get(id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Not,
    Invalid,
    Usable,
}

#[derive(Clone, Debug)]
struct World {
    now: Moment,
    identity: Identity,
    spec: Option<WebhookSubscriptionSpec>,
    status: SubscriptionStatus,
    provider: Known,
    provider_suspended: bool,
    list_forbidden: bool,
    profile: ProviderProfile,
    digest: String,
    source_known: Known,
    gate_lacks: bool,
    source: SourceState,
    rival: Option<ObjectKey>,
    heir: Option<ObjectKey>,
    held_back: Option<HeldBack>,
    listing: Option<ListingView>,
    claims: Claims,
    memory: Memory,
    grace: Duration,
}

impl World {
    /// All is well and nothing is due.
    fn settled() -> Self {
        let spec = json!({
            "providerRef": {"name": "provider"},
            "action": "job.published",
            "postbackUrl": "https://hooks.example.com/in",
            "tokenSourceRef": {"name": "source"},
        });
        let identity = Identity {
            key: key("subject"),
            uid: "uid".into(),
            generation: 1,
            created: Some(at(-HOUR)),
            deleted: None,
            has_finalizer: false,
            rotate_requested: None,
            force_orphan: false,
        };
        let status = SubscriptionStatus {
            observed_generation: Some(1),
            webhook_id: Some("w1".into()),
            webhook_origin: Some(ORIGIN.into()),
            ownership: Some(Ownership::Created),
            token_fingerprint: Some(OLD.into()),
            token_minted_time: Some(at(-HOUR)),
            token_expiration_time: Some(at(23 * HOUR)),
            applied_digest: Some(DIGEST.into()),
            ..SubscriptionStatus::default()
        };
        let profile = ProviderProfile {
            origin: ORIGIN.into(),
            base_url: ORIGIN.into(),
            requests_per_minute: 500,
            preset_requests_per_minute: None,
            max_concurrent: 4,
            timeout: Duration::from_secs(10),
            overlap: Duration::ZERO,
            verify_interval: Duration::from_secs(3_600),
            settle: Duration::from_secs(300),
            can_list: true,
            can_create: true,
            can_delete: true,
            lists_actions: true,
            lists_urls: true,
        };
        let source = SourceState {
            newest: Some(OLD.into()),
            members: 1,
            timeout: Duration::from_secs(10),
            ..SourceState::default()
        };
        Self {
            now: moment(0),
            identity,
            spec: Some(serde_json::from_value(spec).unwrap()),
            status,
            provider: Known::Usable,
            provider_suspended: false,
            list_forbidden: false,
            profile,
            digest: DIGEST.into(),
            source_known: Known::Usable,
            gate_lacks: false,
            source,
            rival: None,
            heir: None,
            held_back: None,
            listing: None,
            claims: Claims::default(),
            memory: Memory::default(),
            grace: Duration::from_secs(600),
        }
    }

    /// The document has changed: a rotation is needed.
    fn needy() -> Self {
        let mut world = Self::settled();
        world.digest = "changed".into();
        world
    }

    /// Nothing is on record yet; a token is held.
    fn fresh() -> Self {
        let mut world = Self::settled();
        world.status = SubscriptionStatus::default();
        world.memory.listing_after = Some(at(-60));
        world.holding(NEW, -30);
        world
    }

    /// A create was begun so long ago, and its outcome is not known.
    fn creating(started: i64) -> Self {
        let mut world = Self::fresh();
        world.opened(RECORDED, started);
        world
    }

    /// An update found nothing under the id on record.
    fn vanished(since: i64) -> Self {
        let mut world = Self::settled();
        world.status.missing_since = Some(at(since));
        world.holding(OLD, -HOUR);
        world
    }

    /// Being deleted for so long, and the remote is to go too.
    fn deleted(since: i64) -> Self {
        let mut world = Self::settled();
        world.identity.deleted = Some(at(since));
        world.identity.has_finalizer = true;
        world.spec().deletion_policy = Some(crate::api::DeletionPolicy::Delete);
        world
    }

    fn spec(&mut self) -> &mut WebhookSubscriptionSpec {
        self.spec.as_mut().unwrap()
    }

    fn opened(&mut self, target: &str, started: i64) {
        self.status.creation = Some(CreationRecord { target: target.into(), started_time: at(started) });
    }

    /// A token of 24 h is held.
    fn holding(&mut self, fingerprint: &str, minted: i64) {
        self.source.held = Some(HeldToken {
            fingerprint: fingerprint.into(),
            minted: moment(minted),
            expires: Some(at(minted + 24 * HOUR)),
            confirmed: at(minted),
        });
        self.source.newest = Some(fingerprint.into());
    }

    /// Somebody asked for a rotation, and that was seen then.
    fn asked(&mut self, seen: i64) {
        self.identity.rotate_requested = Some("please".into());
        self.memory.request_seen = Some(("please".into(), at(seen)));
    }

    /// The last attempt failed, and the next one's time has not come.
    fn failed(&mut self, until: i64) {
        let inputs = self.with_subject(|subject, _| attempt_inputs(subject, &self.digest));
        self.memory.wait = Some((wait(-10, until), inputs));
        self.memory.failures = 1;
        self.memory.failing = Some((Reason::ProviderUnavailable, "it failed".into()));
    }

    /// A complete listing shows these ids with their targets.
    fn listed(&mut self, begun: i64, remotes: &[(&str, &str)]) {
        let remotes = remotes.iter().map(|(id, target)| ((*id).into(), shows(target)));
        self.listing = Some(ListingView { begun: at(begun), remotes: remotes.collect(), mismatch: false });
    }

    fn with_subject<T>(&self, look: impl FnOnce(&Subject<'_>, &Facts<'_>) -> T) -> T {
        let subject = Subject { identity: &self.identity, spec: self.spec.as_ref(), status: &self.status };
        let facts = Facts {
            gate_lacks: self.gate_lacks,
            provider: match self.provider {
                Known::Not => ProviderFact::NotFound,
                Known::Invalid => ProviderFact::Invalid("no good"),
                Known::Usable => ProviderFact::Usable {
                    profile: &self.profile,
                    suspended: self.provider_suspended,
                    list_forbidden: self.list_forbidden,
                    desired_digest: &self.digest,
                },
            },
            source: match self.source_known {
                Known::Not => SourceFact::NotFound,
                Known::Invalid => SourceFact::Invalid("no good"),
                Known::Usable => SourceFact::Usable(&self.source),
            },
            rival: self.rival.as_ref(),
            heir: self.heir.as_ref(),
            held_back: self.held_back,
            listing: self.listing.as_ref(),
            owner_of: &self.claims,
            grace: self.grace,
        };
        look(&subject, &facts)
    }

    fn decide(&self) -> Step {
        self.with_subject(|subject, facts| decide::decide(self.now, subject, facts, &self.memory))
    }

    fn reason(&self) -> WaitReason {
        match self.decide() {
            Step::Wait { reason, .. } => reason,
            step => panic!("{step:?} is no wait"),
        }
    }

    fn until(&self) -> Option<DateTime<Utc>> {
        match self.decide() {
            Step::Wait { until, .. } => until,
            step => panic!("{step:?} is no wait"),
        }
    }

    /// The reason for which it is stalled.
    fn stalled(&self) -> Reason {
        match self.reason() {
            WaitReason::Stalled(reason, message) => {
                assert!(!message.is_empty());
                reason
            }
            reason => panic!("{reason:?} is not stalled"),
        }
    }

    /// What makes a rotation necessary, and the token for it.
    fn rotates(&self) -> (Why, TokenChoice) {
        match self.decide() {
            Step::Rotate { why, token, .. } => (why, token),
            step => panic!("{step:?} is no rotation"),
        }
    }
}

fn is_call(step: &Step) -> bool {
    step.is_call()
}

/// The provider asked for fewer calls, until then.
fn limited(until: DateTime<Utc>) -> HeldBack {
    HeldBack { until, reason: Reason::RateLimited, asked: true }
}
