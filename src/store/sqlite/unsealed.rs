//! Which rows are left to be sealed with the present key.

use crate::store::content::Seals;

/// What is left to do.
#[derive(Default)]
pub(super) struct Resealing {
    /// Numbers of keys whose rows are left.
    pub(super) seals: Vec<i64>,
    /// The last row that was looked at; one that cannot be opened must not hold the others up.
    pub(super) after_delivery: i64,
    pub(super) after_expectation: i64,
    pub(super) skipped: u64,
}

impl Resealing {
    pub(super) fn new(seals: &Seals) -> Self {
        Self { seals: seals.outdated(), ..Self::default() }
    }

    pub(super) fn is_done(&self) -> bool {
        self.seals.is_empty()
    }
}
