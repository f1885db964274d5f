//! A listing between two of its pages.

use crate::engine::ports::{CallFailure, Reading};
use crate::rotation::reading::goes_on_after;
use crate::rotation::time::Moment;

/// So often in a row a page may fail before the listing begins again: what was read gets old.
const MAX_PAGE_FAILURES: u32 = 10;

/// A listing between two of its pages.
#[derive(Debug)]
pub(crate) struct Paused {
    pub(crate) reading: Reading,
    /// When its first page was asked for.
    pub(crate) started: Moment,
    /// How often in a row the page that is to come has failed.
    pub(crate) failures: u32,
    /// Of the provider, when it was begun.
    pub(crate) epoch: u32,
}

impl Paused {
    pub(crate) fn new(started: Moment, epoch: u32) -> Self {
        Self { reading: Reading::default(), started, failures: 0, epoch }
    }

    /// What is kept after a failure; `None` when the listing has to begin again.
    pub(crate) fn after(mut self, failure: &CallFailure) -> Option<Self> {
        self.failures += 1;
        let goes_on = self.reading.has_begun() && goes_on_after(failure) && self.failures < MAX_PAGE_FAILURES;
        goes_on.then_some(self)
    }
}
