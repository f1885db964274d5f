//! What a watch has shown, and what follows from each of its events: an event goes in, changes come out.
//!
//! Nothing here waits or asks. A re-list is the truth about deletions: what it does not contain is gone,
//! whether or not the watch has said so.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};

use super::client::is;
use super::objects::key_of;
use crate::api::ObjectKey;

/// How long to wait after a failure, doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What follows from an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// An object is there, or is different. What others have recorded in it is believed, or is not.
    There(Box<DynamicObject>, bool),
    /// An object is gone.
    Gone(ObjectKey),
    /// Everything has been told that is there.
    Listed,
    /// It may not be listed any more, and is not waited for.
    MayNotList,
    /// Without their definition there are no objects of this kind.
    NotInstalled,
}

/// One kind in one namespace, or in all, as its watch has shown it.
#[derive(Debug)]
pub(super) struct Watched {
    /// Rights in a namespace go when it goes, and must not hold up the others.
    in_namespace: bool,
    /// The kind's definition may be missing.
    is_optional: bool,
    /// Whatever has been told to be there.
    pub(super) present: BTreeSet<ObjectKey>,
    /// What is looked after although it may not be listed.
    pub(super) unlisted: BTreeSet<ObjectKey>,
    /// What the list shows that has begun.
    listed: BTreeSet<ObjectKey>,
    is_listing: bool,
    round: u64,
    /// What others recorded before a round began is believed; what they write later is not.
    believed_round: Option<u64>,
    wait: Duration,
}

impl Watched {
    pub(super) fn new(in_namespace: bool, is_optional: bool) -> Self {
        Self {
            in_namespace,
            is_optional,
            present: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            listed: BTreeSet::new(),
            is_listing: true,
            round: 0,
            believed_round: None,
            wait: FIRST_WAIT,
        }
    }

    /// The watch is begun, with a list, in this round.
    pub(super) fn begin(&mut self, round: u64) {
        self.round = round;
        self.listed.clear();
        self.is_listing = true;
    }

    /// The round that it is in.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Whether a list is under way; a watch may be silent.
    pub(super) fn is_listing(&self) -> bool {
        self.is_listing
    }

    /// What follows from an event, in this order.
    pub(super) fn take(&mut self, event: watcher::Result<Event<DynamicObject>>) -> Vec<Change> {
        match event {
            Ok(Event::Init) => {
                self.is_listing = true;
                self.listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                let key = key_of(&object);
                self.present.insert(key.clone());
                self.listed.insert(key);
                vec![Change::There(Box::new(object), self.believed_round != Some(self.round))]
            }
            Ok(Event::InitDone) => {
                let mut changes: Vec<Change> =
                    self.present.difference(&self.listed).cloned().map(Change::Gone).collect();
                self.present = std::mem::take(&mut self.listed);
                self.unlisted.clear();
                self.is_listing = false;
                self.believed_round = Some(self.round);
                self.wait = FIRST_WAIT;
                changes.push(Change::Listed);
                changes
            }
            Ok(Event::Apply(object)) => {
                self.present.insert(key_of(&object));
                self.wait = FIRST_WAIT;
                vec![Change::There(Box::new(object), false)]
            }
            Ok(Event::Delete(object)) => {
                let key = key_of(&object);
                self.present.remove(&key);
                vec![Change::Gone(key)]
            }
            Err(watcher::Error::InitialListFailed(failed)) if self.in_namespace && is(&failed, 403) => {
                self.believed_round = None;
                vec![Change::MayNotList]
            }
            Err(watcher::Error::InitialListFailed(failed)) if self.is_optional && is(&failed, 404) => {
                vec![Change::NotInstalled]
            }
            Err(_) => Vec::new(),
        }
    }

    /// How long to wait now, after a failure.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// That was waited for, or the server has been `reached` by others meanwhile.
    pub(super) fn waited(&mut self, reached: bool) {
        self.wait = if reached { FIRST_WAIT } else { (self.wait * 2).min(LONGEST_WAIT) };
    }
}

#[cfg(test)]
#[path = "watched_tests.rs"]
mod tests;
