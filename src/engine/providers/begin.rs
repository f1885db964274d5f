//! A provider comes into use, and its time comes.

use std::time::Duration;

use crate::engine::ids::ProviderId;
use crate::engine::providers::filing::{file_provider, wake_blocked};
use crate::engine::providers::keeping::keep_provider;
use crate::engine::providers::status::record_provider;
use crate::engine::turn::Turn;

/// A provider has come into use, or has changed.
pub(crate) fn begin_provider(turn: &mut Turn<'_>, id: ProviderId) {
    let now = turn.now;
    let random = turn.around.random.bits();
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    let Some(remote) = provider.client.clone() else {
        keep_provider(turn, id);
        return record_provider(turn, id);
    };
    let interval = remote.profile().verify_interval;
    if !interval.is_zero() && remote.profile().can_list && provider.next_verification.is_none() {
        // Not everybody's at once: between half an interval and a whole one from now.
        let part = f64::from(u32::try_from(random >> 33).unwrap_or(0)) / f64::from(u32::MAX >> 1);
        let first = interval.mul_f64(0.5 + part / 2.0);
        provider.next_verification = Some(now.boot + first);
    }
    let generation = provider.declared.as_ref().map(|(identity, ..)| identity.generation);
    let seen = provider.declared.as_ref().and_then(|(_, _, status)| status.observed_generation);
    if provider.users.is_empty() && remote.profile().can_list && generation != seen {
        provider.wanted = Some(now.wall);
    }
    keep_provider(turn, id);
    file_provider(turn, id);
    record_provider(turn, id);
}

pub(crate) fn provider_alarm(turn: &mut Turn<'_>, id: ProviderId) {
    let now = turn.now;
    let Some(provider) = turn.state.provider_mut(id) else {
        return;
    };
    provider.timer = None;
    let interval = provider.client.as_ref().map_or(Duration::ZERO, |remote| remote.profile().verify_interval);
    if provider.next_verification.is_some_and(|at| at <= now.boot) {
        provider.next_verification = (!interval.is_zero()).then(|| now.boot + interval);
        let is_read = provider.listing_since.is_some();
        if !provider.users.is_empty() && !provider.suspended && !is_read {
            provider.wanted = provider.wanted.or(Some(now.wall));
        }
    }
    keep_provider(turn, id);
    record_provider(turn, id);
    wake_blocked(turn, id);
    file_provider(turn, id);
}
