//! What a mint brings for all members of its source.

use crate::api::Reason;
use crate::engine::class::class_of;
use crate::engine::dispatch::agenda::{reconcile_each, reconcile_users_of_source};
use crate::engine::effect::Count;
use crate::engine::ids::SourceId;
use crate::engine::ports::{MintFailure, Minted};
use crate::engine::sources::keep_alive::keep_alive;
use crate::engine::sources::mint_failure::{lifetime_unknown, mint_did_not_help, mint_failed};
use crate::engine::sources::offer::offer_held;
use crate::engine::sources::publish::{publish_held, publish_hosts};
use crate::engine::sources::repeated::token_repeated;
use crate::engine::sources::status::record_source;
use crate::engine::state::terms::previous_lifetime;
use crate::engine::turn::Turn;
use crate::rotation::life::{HeldToken, Remark};
use crate::rotation::target::short_digest;
use crate::rotation::time::{Moment, add, written};
use crate::rotation::wait::Wait;
use crate::rotation::{backoff, life, schedule};

/// A mint has ended. What an older term or another version of the source asked for is of no use:
/// those who waited for it decide again.
pub(crate) fn minted(
    turn: &mut Turn<'_>,
    id: SourceId,
    outdated: bool,
    started: Moment,
    result: Result<Minted, MintFailure>,
) {
    let now = turn.now;
    let class = class_of(&result);
    turn.count(Count::Mint { class, took: now.boot.saturating_sub(started.boot) });
    let Some(namespace) = turn.state.source(id).map(|source| source.namespace) else {
        return;
    };
    turn.state.places.minters.give_back(namespace);
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.minting = false;
    if matches!(&result, Ok(_) | Err(MintFailure::Unanswered { .. })) {
        let took = now.boot.saturating_sub(started.boot);
        source.slowest = backoff::slowest(source.slowest, took, result.is_ok());
    }
    match result {
        _ if outdated => {
            if let (Err(failure), None) = (&result, &source.spec) {
                source.keep_hold(failure, now);
            }
            let waiting = std::mem::take(&mut source.waiting);
            reconcile_each(turn, waiting);
        }
        Ok(minted) => token_arrived(turn, id, minted, started),
        Err(failure) => mint_failed(turn, id, &failure),
    }
    keep_alive(turn, id);
}

fn token_arrived(turn: &mut Turn<'_>, id: SourceId, minted: Minted, started: Moment) {
    let now = turn.now;
    let previous_life = previous_lifetime(turn.state, id);
    let random = turn.around.random.bits();
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let polled = source.state.polled;
    source.token_bounds = minted.bounds;
    let same = source.token.as_ref() == Some(&minted.token) && source.state.held.is_some();
    if same
        && !(polled
            && minted.version.as_deref().map(|version| short_digest(&[version])) != source.fingerprint())
    {
        token_repeated(turn, id, minted.lifetime, started);
        publish_hosts(turn, id);
        return;
    }
    let assumed = minted.lifetime.length().is_none() && !polled;
    let lifetime = minted.lifetime.length().or(previous_life.filter(|_| assumed));
    if lifetime.is_none() && !polled {
        lifetime_unknown(turn, id);
        return;
    }
    let source_fingerprint = match &minted.version {
        Some(version) => short_digest(&[version]),
        None => format!("{random:016x}"),
    };
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let held = HeldToken {
        fingerprint: source_fingerprint,
        minted: started,
        expires: lifetime.map(|lifetime| add(started.wall, lifetime.min(life::LONGEST_LIFETIME))),
        confirmed: started.wall,
    };
    tracing::info!(source = %source.key, fingerprint = %held.fingerprint, expires = held.expires.map(written), "a new token");
    source.state.remark = if assumed { Some(Remark::LikeBefore) } else { Remark::of(minted.lifetime) };
    if let Some(remark) = source.state.remark {
        tracing::warn!(source = %source.key, "{remark}");
    }
    source.last_lifetime = lifetime.or(source.last_lifetime);
    source.failures = 0;
    source.hold.close(now.wall);
    source.state.failing = None;
    source.state.not_renewed = false;
    source.state.apply_after = None;
    source.state.for_gates = None;
    source.state.wait = (!polled).then(|| Wait::starting(started.wall, schedule::mint_spacing(lifetime)));
    source.state.held = Some(held);
    source.token = Some(minted.token);
    source.waiting.clear();
    source.refresh();
    record_source(turn, id);
    publish_held(turn, id);
    offer_held(turn, id);
    reconcile_users_of_source(turn, id);
}

pub(crate) fn mint_broken(turn: &mut Turn<'_>, id: SourceId, what: &str) {
    if let Some(source) = turn.state.source_mut(id) {
        source.minting = false;
        let namespace = source.namespace;
        turn.state.places.minters.give_back(namespace);
    }
    let message = format!("{what}; please report it with the log around this time");
    mint_did_not_help(turn, id, Reason::InternalError, message, backoff::LONGEST_WAIT);
    keep_alive(turn, id);
}
