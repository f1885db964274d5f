//! Telling the task that hands on that there is something.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Says that something is due, without waiting. Cheap to clone.
#[derive(Clone, Default)]
pub struct Nudge {
    shared: Arc<Nudged>,
}

#[derive(Default)]
struct Nudged {
    uids: Mutex<HashSet<Arc<str>>>,
    notify: Notify,
}

impl Nudge {
    /// A delivery was stored for the receiver of this uid, or waits again.
    pub fn stored(&self, uid: &Arc<str>) {
        let mut uids = self.shared.uids.lock().unwrap_or_else(PoisonError::into_inner);
        if uids.contains(uid) {
            return;
        }
        uids.insert(Arc::clone(uid));
        if uids.len() == 1 {
            self.shared.notify.notify_one();
        }
    }

    /// Until something was stored.
    pub(super) async fn notified(&self) {
        self.shared.notify.notified().await;
    }

    /// Those that were told of since.
    pub(super) fn take(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.shared.uids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
