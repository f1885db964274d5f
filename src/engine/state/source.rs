//! A token source and its members.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Identity, ObjectKey, TokenSourceSpec, TokenSourceStatus};
use crate::engine::ids::SubscriptionId;
use crate::engine::ports::MintFailure;
use crate::engine::queue::hold_back::HoldBack;
use crate::engine::queue::timers::Milliseconds;
use crate::engine::state::offering::Offering;
use crate::engine::state::publication::Publication;
use crate::rotation::answers::{Hold, judge_mint};
use crate::rotation::facts::SourceState;
use crate::rotation::life::HeldToken;
use crate::rotation::schedule;
use crate::rotation::target::short_digest;
use crate::rotation::time::{Moment, between};
use crate::rotation::wait::Wait;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;
use crate::shares::NamespaceId;

/// Which source: an object, or what a subscription spells out. Identical ones are one source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SourceKey {
    Object(ObjectKey),
    Inline { namespace: Arc<str>, digest: String },
}

impl SourceKey {
    pub(crate) fn namespace(&self) -> &Arc<str> {
        match self {
            Self::Object(key) => &key.namespace,
            Self::Inline { namespace, .. } => namespace,
        }
    }

    /// Fixed for the source, and different between sources.
    pub(crate) fn seed(&self) -> u64 {
        let digest = match self {
            Self::Object(key) => short_digest(&[&key.namespace, &key.name]),
            Self::Inline { namespace, digest } => short_digest(&[namespace, digest]),
        };
        u64::from_str_radix(&digest, 16).unwrap_or(0)
    }
}

impl std::fmt::Display for SourceKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object(key) => write!(formatter, "{key}"),
            Self::Inline { namespace, digest } => {
                write!(formatter, "{namespace}/(inline {digest})")
            }
        }
    }
}

/// A token source and its members.
pub(crate) struct Source {
    pub(crate) key: SourceKey,
    pub(crate) namespace: NamespaceId,
    /// The last valid version; `None` while there is none.
    pub(crate) spec: Option<Arc<TokenSourceSpec>>,
    pub(crate) invalid: Option<String>,
    /// The object, where the source is one.
    pub(crate) object: Option<(Identity, TokenSourceStatus)>,
    pub(crate) state: SourceState,
    /// The token that belongs to `state.held`.
    pub(crate) token: Option<SecretText>,
    /// Where the token may go, as the Secret says that it was read from.
    pub(crate) token_bounds: Bounds,
    /// Everything that refers to the source.
    pub(crate) users: BTreeSet<SubscriptionId>,
    /// How many of the users are members.
    pub(crate) members: u32,
    /// How many of the members carry each fingerprint.
    pub(crate) carried: BTreeMap<Arc<str>, u32>,
    /// Whether a fingerprint has come to them or left them.
    pub(crate) carried_changed: bool,
    /// What gates are to read in the status of what is carried; `None` until that is known.
    pub(crate) carried_for_gates: Option<BTreeSet<Arc<str>>>,
    /// Those that asked for the mint that is waited for.
    pub(crate) waiting: BTreeSet<SubscriptionId>,
    /// Its place in line for a mint: the earliest deadline among them, in epoch milliseconds.
    pub(crate) wanted: Option<i64>,
    pub(crate) minting: bool,
    pub(crate) failures: u32,
    pub(crate) hold: HoldBack,
    pub(crate) last_lifetime: Option<Duration>,
    /// How long mints take, at the most, lately.
    pub(crate) slowest: Duration,
    pub(crate) published: Publication,
    pub(crate) offering: Offering,
    /// The object's status is being written.
    pub(crate) recording: bool,
    /// It could not be written.
    pub(crate) unrecorded: bool,
    pub(crate) timer: Option<Milliseconds>,
    /// When the token that platforms are asked with is replaced.
    pub(crate) renewal: Option<Milliseconds>,
}

impl Source {
    pub(crate) fn set_spec(&mut self, spec: TokenSourceSpec) {
        self.state.revokes_previous = spec.revokes_previous();
        self.state.timeout = spec.timeout();
        self.state.polled = spec.secret.is_some();
        self.spec = Some(Arc::new(spec));
    }
}

impl Source {
    /// Somebody asks for another attempt: the back-off after a failure ends, but neither a wait that
    /// the source itself asked for nor the spacing after a mint.
    pub(crate) fn end_back_off(&mut self, now: Moment) {
        if self.hold.pending(now.wall).is_some() {
            return;
        }
        let spacing = self.state.held.as_ref().map(|held| {
            let life = (held.expires).map(|end| between(held.minted.wall, end));
            Wait::starting(held.minted.wall, schedule::mint_spacing(life))
        });
        self.state.wait = spacing.filter(|_| !self.state.polled);
    }

    /// Nobody asks any more, and the source is left alone all the same for as long as it asked for.
    pub(crate) fn keep_hold(&mut self, failure: &MintFailure, now: Moment) {
        let judgement = judge_mint(failure, &TokenSourceSpec::default());
        if let Hold::Source(asked) = judgement.hold {
            self.hold.open(now.wall, asked, judgement.reason);
            let until = self.hold.pending(now.wall).map_or(now.wall, |held| held.until);
            self.state.wait = Some(Wait::starting(now.wall, between(now.wall, until)));
            self.state.failing = Some((judgement.reason, judgement.message));
        }
    }

    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.state.held.as_ref().map(|held| held.fingerprint.clone())
    }
}

impl Source {
    pub(crate) fn count_carried(&mut self, fingerprint: &str) -> Arc<str> {
        if let Some((shared, count)) = self.carried.iter_mut().find(|(shared, _)| ***shared == *fingerprint) {
            *count += 1;
            return Arc::clone(shared);
        }
        let shared: Arc<str> = fingerprint.into();
        self.carried.insert(Arc::clone(&shared), 1);
        self.carried_changed = true;
        shared
    }

    pub(crate) fn forget_carried(&mut self, fingerprint: Option<&Arc<str>>) {
        if let Some(fingerprint) = fingerprint
            && let Some(count) = self.carried.get_mut(fingerprint)
        {
            *count -= 1;
            if *count == 0 {
                self.carried.remove(fingerprint);
                self.carried_changed = true;
            }
        }
    }

    /// Whether this is the held token.
    pub(crate) fn holds_token(&self, held: &HeldToken) -> bool {
        self.state.held.as_ref().is_some_and(|current| current.fingerprint == held.fingerprint)
    }

    /// What is known of the newest token follows from the held one, or from what the members carry.
    pub(crate) fn refresh(&mut self) {
        self.state.members = self.members;
        if let Some(held) = &self.state.held {
            self.state.newest = Some(held.fingerprint.clone());
            self.state.split = false;
            return;
        }
        let recorded = self.object.as_ref().and_then(|(_, status)| status.token_fingerprint.as_deref());
        let mut known = self.carried.keys().map(|shared| &**shared).chain(recorded);
        let first = known.next();
        let split = known.any(|other| Some(other) != first);
        self.state.newest = first.filter(|_| !split).map(str::to_owned);
        self.state.split = split && !self.state.polled;
    }
}

impl Source {
    /// Whether nothing declares it and nothing is under way for it.
    pub(crate) fn is_idle(&self) -> bool {
        let is_declared = self.object.is_some();
        self.users.is_empty() && !is_declared && !self.minting && !self.recording && self.is_unheard()
    }
}
