//! What the members of a source ask of its tokens.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::engine::ids::{SourceId, SubscriptionId};
use crate::engine::state::State;
use crate::engine::state::subscription::Object;
use crate::rotation::facts::Subject;
use crate::rotation::schedule;
use crate::rotation::schedule::Plan;
use crate::rotation::time::{between, subtract};

/// The lead of the token in place and the last moment at which an attempt can still succeed.
pub(crate) fn lead_of(
    state: &State,
    id: SubscriptionId,
    object: &Object,
) -> Option<(Duration, DateTime<Utc>)> {
    let entry = state.entry(id)?;
    let spec = object.spec.as_ref()?;
    let remote = state.provider(entry.provider)?.client.as_ref()?;
    let source = state.source(entry.source?)?;
    let subject = Subject { identity: &object.identity, spec: Some(spec), status: &object.status };
    let plan = schedule::planned(&subject, spec, remote.profile(), &source.state)?;
    Some((plan.lead, subtract(plan.expires, plan.safety)))
}

/// The plans of some of the members: their patience sets the pace of attempts.
pub(crate) fn plans(state: &State, id: SourceId) -> impl Iterator<Item = Plan> {
    let source = state.source(id);
    source
        .into_iter()
        .flat_map(|source| source.users.iter().take(32).map(move |user| (source, user)))
        .filter_map(|(source, user)| {
            let entry = state.entry(*user)?;
            let object = entry.object()?;
            let spec = object.spec.as_ref()?;
            let remote = state.provider(entry.provider)?.client.as_ref()?;
            let subject = Subject { identity: &object.identity, spec: Some(spec), status: &object.status };
            schedule::planned(&subject, spec, remote.profile(), &source.state)
        })
}

/// When the first of the members' tokens ends.
pub(crate) fn first_end(state: &State, id: SourceId) -> Option<DateTime<Utc>> {
    plans(state, id).map(|plan| plan.expires).min()
}

pub(crate) fn longest_overlap(state: &State, id: SourceId) -> Duration {
    let Some(source) = state.source(id) else {
        return Duration::ZERO;
    };
    source
        .users
        .iter()
        .filter_map(|user| {
            let entry = state.entry(*user)?;
            let object = entry.object()?;
            let remote = state.provider(entry.provider)?.client.as_ref()?;
            Some(schedule::terms(object.spec.as_ref()?, remote.profile(), &source.state).overlap)
        })
        .max()
        .unwrap_or_default()
}

/// How long kubelets get to bring the published token to its readers.
pub(crate) fn publishing_pause(state: &State, id: SourceId) -> Duration {
    let Some(source) = state.source(id) else {
        return Duration::ZERO;
    };
    let Some(held) = &source.state.held else {
        return Duration::ZERO;
    };
    let Some(expires) = held.expires else {
        return schedule::publishing_pause(Duration::MAX);
    };
    let lead = source.users.iter().find_map(|user| {
        let entry = state.entry(*user)?;
        let object = entry.object()?;
        let remote = state.provider(entry.provider)?.client.as_ref()?;
        let terms = schedule::terms(object.spec.as_ref()?, remote.profile(), &source.state);
        Some(schedule::plan(held.minted.wall, expires, &terms).lead)
    });
    schedule::publishing_pause(lead.unwrap_or_default())
}

/// How long the source's tokens lived before, for an answer that does not say.
pub(crate) fn previous_lifetime(state: &State, id: SourceId) -> Option<Duration> {
    let source = state.source(id)?;
    let life = |minted: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>| Some(between(minted?, end?));
    let of_object = source
        .object
        .as_ref()
        .and_then(|(_, status)| life(status.token_minted_time, status.token_expiration_time));
    source.last_lifetime.or(of_object).or_else(|| {
        source.users.iter().find_map(|user| {
            let status = state.entry(*user)?.object()?.status;
            life(status.token_minted_time, status.token_expiration_time)
        })
    })
}
