//! What a source's gates have not taken in, and how long a token waits for them.

use crate::engine::ports::Offered;
use crate::engine::queue::timers::Milliseconds;

/// What a source's gates have not taken in.
#[derive(Debug, Default)]
pub(crate) struct Offering {
    /// The tokens, the newest last.
    pub(crate) open: Vec<Offered>,
    /// One is being handed over.
    pub(crate) busy: bool,
    /// How often in a row that failed.
    pub(crate) failures: u32,
    /// Fingerprint of the token that was applied last although it had not been taken in.
    pub(crate) behind: Option<String>,
    pub(crate) timer: Option<Milliseconds>,
}

impl Offering {
    pub(crate) fn holds(&self, fingerprint: &str) -> bool {
        self.open.iter().any(|offered| offered.fingerprint == fingerprint)
    }

    pub(crate) fn close(&mut self, fingerprint: &str) {
        self.open.retain(|offered| offered.fingerprint != fingerprint);
    }
}
