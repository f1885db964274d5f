//! A source comes into use, and its time comes.

use crate::engine::dispatch::agenda::reconcile_users_of_source;
use crate::engine::ids::SourceId;
use crate::engine::sources::keep_alive::keep_alive;
use crate::engine::sources::mint::queue_mint;
use crate::engine::sources::offer::offer_held;
use crate::engine::sources::publish::{alarm_source, publish_held, read_published, tend_publication};
use crate::engine::sources::status::record_source;
use crate::engine::turn::Turn;

/// A source has come into use: what is published is read, and what is polled is read too.
pub(crate) fn begin_source(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    let Some(spec) = source.spec.clone() else {
        return record_source(turn, id);
    };
    source.refresh();
    let (is_read, has_held) = (source.published.tokens.is_some(), source.state.held.is_some());
    let is_on_its_way = source.published.pending.is_some() || source.is_held_published();
    if spec.publish_to.is_some() && !has_held && !is_read {
        source.state.unread = true;
        read_published(turn, id);
    } else if spec.publish_to.is_some() && has_held && !is_on_its_way {
        // It was minted before the source was to publish, or to publish there.
        publish_held(turn, id);
    }
    if spec.secret.is_some() {
        alarm_source(turn, id, now.boot);
    }
    offer_held(turn, id);
    keep_alive(turn, id);
    record_source(turn, id);
}

pub(crate) fn source_alarm(turn: &mut Turn<'_>, id: SourceId) {
    let now = turn.now;
    let Some(source) = turn.state.source_mut(id) else {
        return;
    };
    source.timer = None;
    if source.state.polled {
        queue_mint(turn, id, now.wall.timestamp_millis());
        let poll = turn.state.options.secret_poll_interval;
        alarm_source(turn, id, now.boot + poll);
        return;
    }
    tend_publication(turn, id);
    reconcile_users_of_source(turn, id);
}
