//! Asking the rules about one subscription, and showing what they say.

use std::collections::BTreeSet;

use super::Engine;
use super::entry::Object;
use super::ids::{ProviderId, SubscriptionId};
use super::state::{Owners, Provider, Source};
use crate::api::{Failures, Reason, SubscriptionStatus};
use crate::rotation::conditions::{Received, View};
use crate::rotation::decide;
use crate::rotation::facts::{Drift, Facts, HeldBack, ProviderFact, SourceFact, Subject};
use crate::rotation::schedule;
use crate::rotation::status;
use crate::rotation::step::{Step, WaitReason};
use crate::rotation::time::Moment;

/// A subscription with what the rules say of it.
pub(super) struct Judged {
    /// With the life that its token has now.
    pub(super) object: Object,
    /// What is on record, where that is another life: its source has given the token a new one.
    pub(super) recorded: Option<SubscriptionStatus>,
    pub(super) step: Step,
    pub(super) document: Wanted,
    /// Providers whose credentials have to be read first: they tell who claims the same webhook.
    pub(super) unread: BTreeSet<ProviderId>,
}

impl Judged {
    /// Whether it waits although there is something to do.
    pub(super) fn is_held_back(&self) -> bool {
        matches!(&self.step, Step::Wait { reason: WaitReason::BackingOff(..), .. })
    }
}

/// What a provider says of the document that a subscription asks for.
pub(super) struct Wanted {
    /// Its digest; `None` while the provider cannot say.
    pub(super) desired: Option<String>,
    /// The rule of the provider's that it breaks.
    pub(super) refused: Option<String>,
}

/// How a subscription is shown.
pub(super) struct Shown<'a> {
    pub(super) reason: &'a WaitReason,
    /// What happened just now.
    pub(super) happened: Option<Reason>,
}

impl<'a> Shown<'a> {
    /// Nothing has happened.
    pub(super) fn as_it(reason: &'a WaitReason) -> Self {
        Self { reason, happened: None }
    }
}

/// What the back-off of a mint is recorded with, to tell it from the object's own.
pub(super) const OF_MINT: &str = "mint";

pub(super) fn is_of_mint(failures: &Failures) -> bool {
    failures.inputs.as_deref() == Some(OF_MINT)
}

pub(super) fn is_deleting(object: &Object, gone: bool) -> bool {
    gone || object.identity.deleted.is_some()
}

fn provider_fact<'a>(provider: &'a Provider, desired: Option<&'a str>) -> ProviderFact<'a> {
    match (&provider.client, desired) {
        (Some(remote), desired) => ProviderFact::Usable {
            profile: remote.profile(),
            suspended: provider.suspended,
            list_forbidden: provider.list_forbidden,
            desired_digest: desired.unwrap_or_default(),
        },
        (None, _) => match &provider.invalid {
            Some(problem) => ProviderFact::Invalid(problem),
            None => ProviderFact::NotFound,
        },
    }
}

fn source_fact(source: Option<&Source>) -> SourceFact<'_> {
    match source {
        Some(source) if source.spec.is_some() => SourceFact::Usable(&source.state),
        Some(source) => match &source.invalid {
            Some(problem) => SourceFact::Invalid(problem),
            None => SourceFact::NotFound,
        },
        None => SourceFact::NotFound,
    }
}

impl Engine {
    /// Asks the rules.
    pub(super) fn judge(&self, id: SubscriptionId, now: Moment) -> Option<Judged> {
        let entry = self.state.entry(id)?;
        let mut object = entry.object()?;
        let provider = self.state.provider(entry.provider)?;
        let source = entry.source.and_then(|source| self.state.source(source));
        let document = self.document_of(id, &object);
        let mut memory = entry.memory();
        // One that is read never gives its token another life.
        let held = source.filter(|source| !source.state.polled).and_then(|source| source.state.held.as_ref());
        let renewed = held.and_then(|held| Some((status::with_life_of(&object.status, held)?, held.minted)));
        let recorded = renewed.map(|(status, minted)| {
            memory.minted_boot = Some(minted.boot);
            std::mem::replace(&mut object.status, status)
        });
        let owners = Owners::new(&self.state, id);
        let mut unread = BTreeSet::new();
        let rival = self.state.rival(id, &object, &mut unread);
        let heir =
            is_deleting(&object, entry.gone).then(|| self.state.heir(id)).flatten().map(|(_, key)| key);
        let facts = Facts {
            provider: provider_fact(provider, document.desired.as_deref()),
            source: source_fact(source),
            gate_lacks: source.is_some_and(|source| self.gate_lacks(source, &object)),
            rival: rival.as_ref(),
            heir: heir.as_ref(),
            held_back: self.held_back(provider, now),
            listing: provider.listing.as_deref(),
            owner_of: &owners,
            grace: self.options.grace,
        };
        // A document that the provider's rules refuse is not sent; a deletion sends none.
        let deleting = is_deleting(&object, entry.gone);
        let spec = (object.spec.as_ref()).filter(|_| document.refused.is_none() || deleting);
        let subject = Subject { identity: &object.identity, spec, status: &object.status };
        let step = decide::decide(now, &subject, &facts, &memory);
        unread.extend(owners.into_unread());
        if step.is_call() && self.state.is_unread(entry.provider) {
            unread.insert(entry.provider);
        }
        Some(Judged { object, recorded, step, document, unread })
    }

    /// Asks the provider of the document that a subscription asks for.
    pub(super) fn document_of(&self, id: SubscriptionId, object: &Object) -> Wanted {
        let provider = (self.state.entry(id)).and_then(|entry| self.state.provider(entry.provider));
        let remote = provider.and_then(|provider| provider.client.as_ref());
        let Some((remote, spec)) = remote.zip(object.spec.as_ref()) else {
            return Wanted { desired: None, refused: None };
        };
        Wanted {
            desired: Some(remote.document_digest(&spec.as_sent(&object.identity.key.name))),
            refused: remote.check(spec).err().map(|problem| problem.to_string()),
        }
    }

    pub(super) fn held_back(&self, provider: &Provider, now: Moment) -> Option<HeldBack> {
        let origin = provider.origin().and_then(|origin| self.state.origins.get(origin));
        let of_origin = origin.and_then(|origin| origin.pause(provider.namespace, now.wall));
        of_origin.into_iter().chain(provider.hold.pending(now.wall)).max_by_key(|held| held.until)
    }

    /// Whether calls for a subscription pause.
    pub(super) fn is_held_back(&self, id: SubscriptionId, now: Moment) -> bool {
        let provider = self.state.entry(id).and_then(|entry| self.state.provider(entry.provider));
        provider.is_some_and(|provider| self.held_back(provider, now).is_some())
    }

    pub(super) fn breaker_of(&self, provider: &Provider) -> Option<&super::breaker::Breaker> {
        let origin = self.state.origins.get(provider.origin()?)?;
        origin.tenant(provider.namespace).map(|tenant| &tenant.breaker)
    }

    /// The status for these fields, with conditions that are true now.
    pub(super) fn presented(
        &self,
        id: SubscriptionId,
        object: &Object,
        document: &Wanted,
        fields: &SubscriptionStatus,
        shown: &Shown<'_>,
        now: Moment,
    ) -> SubscriptionStatus {
        let Some(entry) = self.state.entry(id) else {
            return fields.clone();
        };
        let memory = entry.memory();
        let provider = self.state.provider(entry.provider);
        let remote = provider.and_then(|provider| provider.client.as_ref());
        let source = entry.source.and_then(|source| self.state.source(source));
        let subject = Subject { identity: &object.identity, spec: object.spec.as_ref(), status: fields };
        let polled = source.is_some_and(|source| source.state.polled);
        let plan = match (object.spec.as_ref(), remote, source) {
            (Some(spec), Some(remote), Some(source)) if !polled => {
                schedule::planned(&subject, spec, remote.profile(), &source.state)
            }
            _ => None,
        };
        let view = View {
            now,
            generation: object.identity.generation,
            wait: shown.reason,
            desired_digest: document.desired.as_deref(),
            invalid: entry.invalid.as_deref().or(document.refused.as_deref()),
            plan: plan.as_ref(),
            failing: memory.failing.as_ref(),
            list_forbidden: provider.is_some_and(|provider| provider.list_forbidden),
            not_renewed: source.is_some_and(|source| source.state.not_renewed),
            compared: remote.map_or("the same action and postback URL", |remote| remote.profile().compared()),
            drift_persists: match memory.drift {
                Some(Drift::Persists(difference)) => Some(difference),
                _ => None,
            },
            remark: source.and_then(|source| source.state.remark),
            happened: shown.happened,
            received: match object.spec.as_ref().map(|spec| spec.receiver_ref.as_ref()) {
                Some(Some(receiver)) => Received::At(&receiver.name, &memory.observed),
                Some(None) => Received::Elsewhere,
                None => Received::Unknown,
            },
        };
        status::present(fields, &view)
    }

    /// A mint's failure is over when its source says so, although nothing was applied since.
    pub(super) fn without_past_failure(
        &self,
        id: SubscriptionId,
        status: &SubscriptionStatus,
    ) -> SubscriptionStatus {
        let mut fields = status.clone();
        let source = self.state.entry(id).and_then(|entry| entry.source);
        let failing = source
            .and_then(|source| self.state.source(source))
            .is_some_and(|source| source.state.failing.is_some());
        if !failing {
            fields.failures = fields.failures.filter(|failures| !is_of_mint(failures));
        }
        fields
    }
}
