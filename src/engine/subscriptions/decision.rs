//! Asking the rules about one subscription, and showing what they say.

use std::collections::BTreeSet;

use crate::api::{Failures, Reason, SubscriptionStatus};
use crate::engine::dispatch::pauses::held_back;
use crate::engine::ids::{ProviderId, SubscriptionId};
use crate::engine::served::gate_lacks;
use crate::engine::state::State;
use crate::engine::state::claims::Owners;
use crate::engine::state::provider::Provider;
use crate::engine::state::source::Source;
use crate::engine::state::subscription::Object;
use crate::engine::turn::Turn;
use crate::rotation::conditions::{Received, View};
use crate::rotation::facts::{Drift, Facts, ProviderFact, SourceFact, Subject};
use crate::rotation::step::{Step, WaitReason};
use crate::rotation::time::Moment;
use crate::rotation::{decide, schedule, status};

/// A subscription with what the rules say of it.
pub(crate) struct Judged {
    /// With the life that its token has now.
    pub(crate) object: Object,
    /// What is on record, where that is another life: its source has given the token a new one.
    pub(crate) recorded: Option<SubscriptionStatus>,
    pub(crate) step: Step,
    pub(crate) document: Wanted,
    /// Providers whose credentials have to be read first: they tell who claims the same webhook.
    pub(crate) unread: BTreeSet<ProviderId>,
}

impl Judged {
    /// Whether it waits although there is something to do.
    pub(crate) fn is_held_back(&self) -> bool {
        matches!(&self.step, Step::Wait { reason: WaitReason::BackingOff(..), .. })
    }
}

/// What a provider says of the document that a subscription asks for.
pub(crate) struct Wanted {
    /// Its digest; `None` while the provider cannot say.
    pub(crate) desired: Option<String>,
    /// The rule of the provider's that it breaks.
    pub(crate) refused: Option<String>,
}

/// How a subscription is shown.
pub(crate) struct Shown<'a> {
    pub(crate) wait: &'a WaitReason,
    /// What happened just now.
    pub(crate) happened: Option<Reason>,
}

impl<'a> Shown<'a> {
    /// Nothing has happened.
    pub(crate) fn as_it(wait: &'a WaitReason) -> Self {
        Self { wait, happened: None }
    }
}

/// What the back-off of a mint is recorded with, to tell it from the object's own.
pub(crate) const OF_MINT: &str = "mint";

pub(crate) fn is_of_mint(failures: &Failures) -> bool {
    failures.inputs.as_deref() == Some(OF_MINT)
}

pub(crate) fn is_deleting(object: &Object, gone: bool) -> bool {
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

/// Asks the rules.
pub(crate) fn judge(turn: &Turn<'_>, id: SubscriptionId) -> Option<Judged> {
    let now = turn.now;
    let entry = turn.state.entry(id)?;
    let mut object = entry.object()?;
    let provider = turn.state.provider(entry.provider)?;
    let source = entry.source.and_then(|source| turn.state.source(source));
    let document = document_of(turn.state, id, &object);
    let mut memory = entry.memory();
    // One that is read never gives its token another life.
    let held = source.filter(|source| !source.state.polled).and_then(|source| source.state.held.as_ref());
    let renewed = held.and_then(|held| Some((status::with_life_of(&object.status, held)?, held.minted)));
    let recorded = renewed.map(|(status, minted)| {
        memory.minted_boot = Some(minted.boot);
        std::mem::replace(&mut object.status, status)
    });
    let owners = Owners::new(turn.state, id);
    let mut unread = BTreeSet::new();
    let rival = turn.state.rival(id, &object, &mut unread);
    let heir = is_deleting(&object, entry.gone).then(|| turn.state.heir(id)).flatten().map(|(_, key)| key);
    let facts = Facts {
        provider: provider_fact(provider, document.desired.as_deref()),
        source: source_fact(source),
        gate_lacks: source.is_some_and(|source| gate_lacks(turn, source, &object)),
        rival: rival.as_ref(),
        heir: heir.as_ref(),
        held_back: held_back(turn.state, provider, now),
        listing: provider.listing.as_deref(),
        owner_of: &owners,
        grace: turn.state.options.grace,
    };
    // A document that the provider's rules refuse is not sent; a deletion sends none.
    let deleting = is_deleting(&object, entry.gone);
    let spec = (object.spec.as_ref()).filter(|_| document.refused.is_none() || deleting);
    let subject = Subject { identity: &object.identity, spec, status: &object.status };
    let step = decide::decide(now, &subject, &facts, &memory);
    unread.extend(owners.into_unread());
    if step.is_call() && turn.state.is_unread(entry.provider) {
        unread.insert(entry.provider);
    }
    Some(Judged { object, recorded, step, document, unread })
}

/// Asks the provider of the document that a subscription asks for.
pub(crate) fn document_of(state: &State, id: SubscriptionId, object: &Object) -> Wanted {
    let provider = (state.entry(id)).and_then(|entry| state.provider(entry.provider));
    let remote = provider.and_then(|provider| provider.client.as_ref());
    let Some((remote, spec)) = remote.zip(object.spec.as_ref()) else {
        return Wanted { desired: None, refused: None };
    };
    Wanted {
        desired: Some(remote.document_digest(&spec.as_sent(&object.identity.key.name))),
        refused: remote.check(spec).err().map(|problem| problem.to_string()),
    }
}

/// The status for these fields, with conditions that are true now.
pub(crate) fn presented(
    state: &State,
    id: SubscriptionId,
    object: &Object,
    document: &Wanted,
    fields: &SubscriptionStatus,
    shown: &Shown<'_>,
    now: Moment,
) -> SubscriptionStatus {
    let Some(entry) = state.entry(id) else {
        return fields.clone();
    };
    let memory = entry.memory();
    let provider = state.provider(entry.provider);
    let remote = provider.and_then(|provider| provider.client.as_ref());
    let source = entry.source.and_then(|source| state.source(source));
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
        wait: shown.wait,
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
pub(crate) fn without_past_failure(
    state: &State,
    id: SubscriptionId,
    status: &SubscriptionStatus,
) -> SubscriptionStatus {
    let mut fields = status.clone();
    let source = state.entry(id).and_then(|entry| entry.source);
    let failing =
        source.and_then(|source| state.source(source)).is_some_and(|source| source.state.failing.is_some());
    if !failing {
        fields.failures = fields.failures.filter(|failures| !is_of_mint(failures));
    }
    fields
}
