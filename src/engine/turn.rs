//! What one call of [`handle`](super::handle::handle) works on.

use std::collections::VecDeque;

use super::change::Change;
use super::effect::{Call, Count, Effect};
use super::ports::{Gates, Notice, Random};
use super::state::State;
use crate::api::{Kind, ObjectKey, Reason};
use crate::rotation::time::Moment;

/// What is asked of the outside while an event is handled. It is answered at once and from memory.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// Who proves deliveries, and what they have kept. Nothing is handed over here.
    pub(crate) gates: &'a dyn Gates,
    /// Unpredictable numbers.
    pub(crate) random: &'a dyn Random,
}

/// One event being handled: the state that it changes, the time, and what follows.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now: Moment,
    pub(crate) around: Around<'a>,
    /// What the loop is to do, in this order.
    pub(crate) effects: Vec<Effect>,
    /// Objects that waited until one of the same name was gone: they are taken in next.
    pub(crate) successors: VecDeque<Change>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(state: &'a mut State, now: Moment, around: Around<'a>) -> Self {
        Self { state, now, around, effects: Vec::new(), successors: VecDeque::new() }
    }

    /// The loop is to begin this call, and to bring back what comes of it.
    pub(crate) fn call(&mut self, call: Call) {
        let ticket = self.state.under_way.open();
        self.begin(Effect::Begin(ticket, call));
    }

    /// The loop is to do this.
    pub(crate) fn begin(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// People are told.
    pub(crate) fn emit(&mut self, kind: Kind, key: &ObjectKey, warning: bool, reason: Reason, note: String) {
        self.begin(Effect::Emit(Notice { kind, key: key.clone(), warning, reason, note }));
    }

    /// The metrics are told.
    pub(crate) fn count(&mut self, count: Count) {
        self.begin(Effect::Count(count));
    }
}
