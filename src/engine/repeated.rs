//! A source that returns the held token once more.

use super::Engine;
use super::ids::SourceId;
use super::ports::Lifetime;
use crate::api::Reason;
use crate::rotation::backoff;
use crate::rotation::life::{self, Remark, Repeated};
use crate::rotation::schedule;
use crate::rotation::time::{Moment, written};
use crate::rotation::wait::Wait;

impl Engine {
    /// The held token was returned once more. A new life of it counts, without a call to the
    /// provider; otherwise the source is asked again while its life lasts.
    pub(super) fn token_repeated(&mut self, id: SourceId, said: Lifetime, started: Moment, now: Moment) {
        let Some(source) = self.state.source_mut(id) else {
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
            return self.token_over(id, &ended, now);
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
                self.record_source(id, now);
                self.publish_life(id);
                self.reconcile_users_of_source(id);
            }
            Some(Repeated::SameEnd(ask_again)) => {
                source.state.wait = Some(Wait::starting(now.wall, ask_again));
                source.state.not_renewed = true;
                self.reconcile_waiting_or_users(id, false);
            }
            _ => self.reconcile_waiting_or_users(id, true),
        }
    }

    /// The source has nothing but a token that has ended: an answer in time, and no better than none.
    fn token_over(&mut self, id: SourceId, ended: &str, now: Moment) {
        let random = self.ports.random.bits();
        let Some(source) = self.state.source_mut(id) else {
            return;
        };
        let message = format!(
            "the token source returns the token that ended at {ended} and states no new life of it; shorten what caches \
             it, or, if the token goes on to live, set assumedLifetime on the token source"
        );
        let wait = backoff::delay(source.failures, backoff::LONGEST_WAIT, random);
        tracing::info!(source = %source.key, reason = %Reason::TokenNotRenewed, "{message}");
        self.mint_did_not_help(id, Reason::TokenNotRenewed, message, wait, now);
    }
}
