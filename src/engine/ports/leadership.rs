//! The right to act, and the fence that it puts before each request.

use std::sync::Arc;
use std::time::Duration;

use crate::rotation::outcome::Refusal;
use crate::rotation::time::Moment;

/// The right to act, with its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Differs between two times of leading, even of one process.
    pub term: u64,
    /// The claim ends when either clock has come to this.
    pub until: Moment,
}

/// May this process act, and until when?
pub trait Leadership: Send + Sync {
    /// The claim in force; `None` while another process leads.
    fn claim(&self) -> Option<Claim>;
}

/// Says, right before a request is sent, whether it may still be, and until when.
#[derive(Clone)]
pub struct CallFence(Arc<dyn Fn() -> Option<Duration> + Send + Sync>);

impl CallFence {
    /// A fence that asks the function: `None` means that the request must not be sent, otherwise
    /// its timeout is cut to the duration.
    pub fn new(ask: impl Fn() -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// A fence that always permits.
    #[must_use]
    pub fn open() -> Self {
        Self::new(|| Some(Duration::MAX))
    }

    /// The same fence, which cuts a request's timeout to this as well.
    #[must_use]
    pub fn within(self, longest: Duration) -> Self {
        Self::new(move || (self.0)().map(|left| left.min(longest)))
    }

    /// Cuts a request's timeout to what is left of the claim.
    ///
    /// # Errors
    /// [`Refusal::ClaimEnded`] when nothing is left.
    pub fn cut(&self, timeout: Duration) -> Result<Duration, Refusal> {
        match (self.0)() {
            Some(left) if !left.is_zero() => Ok(timeout.min(left)),
            _ => Err(Refusal::ClaimEnded),
        }
    }
}

impl std::fmt::Debug for CallFence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CallFence")
    }
}
