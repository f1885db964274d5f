//! The last credential that worked, kept in memory for deletions alone.
//!
//! Secrets have no finalizer of ours: in a namespace that is deleted they are gone within seconds,
//! and with them the right to read any. Without what is kept here, webhooks with a live token would
//! stay behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::ports::{Custody, Refusal};
use crate::http::HeaderName;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// Headers that say who we are, and where they may go.
#[derive(Clone)]
pub(super) struct Headers {
    pub(super) headers: Vec<(HeaderName, SecretText)>,
    pub(super) bounds: Bounds,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To create or to update.
    Write,
    List,
    Delete,
}

#[derive(Default)]
struct Inner {
    custody: Custody,
    headers: Option<Headers>,
}

/// One credential at most, and none where no deletion will need it.
#[derive(Default)]
pub(super) struct Kept(Mutex<Inner>);

impl Kept {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what becomes of the credential from now on. Returns whether one is lacking.
    pub(super) fn set(&self, custody: Custody) -> bool {
        let mut inner = self.inner();
        inner.custody = custody;
        if custody == Custody::Nothing {
            inner.headers = None;
        }
        custody != Custody::Nothing && inner.headers.is_none()
    }

    /// Whether what works is to be kept.
    pub(super) fn keeps(&self) -> bool {
        self.inner().custody != Custody::Nothing
    }

    /// It was read ahead: better than none.
    pub(super) fn read_ahead(&self, headers: Headers) {
        let mut inner = self.inner();
        if inner.custody != Custody::Nothing && inner.headers.is_none() {
            inner.headers = Some(headers);
        }
    }

    /// The provider has taken it.
    pub(super) fn worked(&self, headers: Headers) {
        let mut inner = self.inner();
        if inner.custody != Custody::Nothing {
            inner.headers = Some(headers);
        }
    }

    /// Its Secret names the provider's host no more: what is kept is of no use either.
    pub(super) fn forget(&self) {
        self.inner().headers = None;
    }

    /// What takes the place of a Secret that cannot be read any more. One whose value must not be
    /// sent is another matter.
    pub(super) fn instead(&self, purpose: Purpose, refusal: &Refusal) -> Option<Headers> {
        if !matches!(refusal, Refusal::SecretNotFound { .. } | Refusal::SecretUnavailable { .. }) {
            return None;
        }
        let inner = self.inner();
        let serves = match purpose {
            Purpose::Write => false,
            Purpose::List => inner.custody == Custody::Ending,
            Purpose::Delete => true,
        };
        inner.headers.clone().filter(|_| serves)
    }
}
