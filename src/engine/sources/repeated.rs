//! A source that returns the held token once more.

use crate::api::Reason;
use crate::engine::dispatch::agenda::{reconcile_users_of_source, reconcile_waiting_or_users};
use crate::engine::ids::SourceId;
use crate::engine::ports::Lifetime;
use crate::engine::sources::mint_failure::mint_did_not_help;
use crate::engine::sources::publish::publish_life;
use crate::engine::sources::status::record_source;
use crate::engine::turn::Turn;
use crate::rotation::life::{Remark, Repeated};
use crate::rotation::time::{Moment, written};
use crate::rotation::wait::Wait;
use crate::rotation::{backoff, life, schedule};

/// The held token was returned once more. A new life of it counts, without a call to the
/// provider; otherwise the source is asked again while its life lasts.
pub(crate) fn token_repeated(turn: &mut Turn<'_>, id: SourceId, said: Lifetime, started: Moment) {
    let now = turn.now;
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let polled = source.state.polled;
    let Some(held) = &mut source.state.held else {
        return;
    };
    held.confirmed = started.wall;
    let repeated = if polled { None } else { Some(life::repeated(held, said, started, now)) };
    if repeated == Some(Repeated::Over) {
        let ended = held.expires.map(written).unwrap_or_default();
        return token_over(turn, id, &ended);
    }
    source.failures = 0;
    source.state.failing = None;
    source.hold.close(now.wall);
    match repeated {
        Some(Repeated::AnotherEnd(end)) => {
            let length = said.length();
            (held.minted, held.expires) = (started, Some(end));
            source.last_lifetime = length.or(source.last_lifetime);
            source.state.not_renewed = false;
            source.state.remark = match said {
                Lifetime::Assumed(life) => Some(Remark::AssumedAnew(life)),
                said => Remark::of(said),
            };
            source.state.wait = Some(Wait::starting(started.wall, schedule::mint_spacing(length)));
            source.waiting.clear();
            tracing::info!(source = %source.key, expires = written(end), "the held token lives on");
            record_source(turn, id);
            publish_life(turn, id);
            reconcile_users_of_source(turn, id);
        }
        Some(Repeated::SameEnd(ask_again)) => {
            source.state.wait = Some(Wait::starting(now.wall, ask_again));
            source.state.not_renewed = true;
            reconcile_waiting_or_users(turn, id, false);
        }
        _ => reconcile_waiting_or_users(turn, id, true),
    }
}

/// The source has nothing but a token that has ended: an answer in time, and no better than none.
fn token_over(turn: &mut Turn<'_>, id: SourceId, ended: &str) {
    let random = turn.around.random.bits();
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let message = format!(
        "the token source returns the token that expired at {ended} and states no new life of it; shorten what caches \
         it, or, if the token goes on to live, set assumedLifetime on the token source"
    );
    let wait = backoff::delay(source.failures, backoff::LONGEST_WAIT, random);
    tracing::info!(source = %source.key, reason = %Reason::TokenNotRenewed, "{message}");
    mint_did_not_help(turn, id, Reason::TokenNotRenewed, message, wait);
}
