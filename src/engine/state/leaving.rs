//! A source that nobody uses any more.

use crate::engine::ids::SourceId;
use crate::engine::queue::timers::Alarm;
use crate::engine::state::State;
use crate::engine::state::source::{Source, SourceKey};
use crate::rotation::time::Moment;

impl State {
    /// Nobody uses the source any more, or its object is deleted: no token of it is kept, and nothing
    /// is minted. It goes itself when nothing is under way for it and no pause is pending.
    pub(crate) fn leave_source(&mut self, id: SourceId, now: Moment) {
        let Some(source) = self.source_mut(id) else {
            return;
        };
        source.forget_tokens();
        source.spec = None;
        source.end_back_off(now);
        if source.state.wait.is_none() {
            source.state.failing = None;
            source.failures = 0;
        }
        self.stop_minting(id);
        if let Some(source) = self.sources.get_mut(id) {
            self.timers.unfile(&mut source.timer, Alarm::Source(id));
            self.timers.unfile(&mut source.offering.timer, Alarm::Gates(id));
            self.timers.unfile(&mut source.renewal, Alarm::Renewal(id));
        }
    }

    /// What a subscription spells out is gone with the last one that does.
    pub(crate) fn leave_unused_source(&mut self, id: SourceId, now: Moment) {
        let is_unused =
            |source: &Source| source.users.is_empty() && matches!(source.key, SourceKey::Inline { .. });
        if self.source(id).is_some_and(is_unused) {
            self.leave_source(id, now);
        }
    }

    /// The mint that waits for its turn is not wanted any more.
    pub(crate) fn stop_minting(&mut self, id: SourceId) {
        if let Some(source) = self.source_mut(id)
            && let Some(wanted) = source.wanted.take()
        {
            let namespace = source.namespace;
            self.waiting.mints.remove(namespace, &(wanted, id));
        }
    }
}
