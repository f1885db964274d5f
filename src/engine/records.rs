//! Making a status or a finalizer durable, and what follows.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::calls::{Done, Job, Report, Then};
use super::entry::{Object, Work};
use super::failures::internal;
use super::ids::{SourceId, SubscriptionId};
use super::namespaces::NamespaceId;
use super::ports::RecordFailure;
use crate::api::{Reason, SubscriptionStatus};
use crate::rotation::answers::{Judgement, Operation};
use crate::rotation::backoff;
use crate::rotation::facts::Memory;
use crate::rotation::status::{self};
use crate::rotation::time::Moment;
use crate::rotation::wait::Wait;

/// The longest pause between two attempts to let a deleted object go.
const LONGEST_RELEASE_PAUSE: Duration = Duration::from_secs(300);

/// A write that waits for its turn, and is put together when that comes.
pub(super) type Write = Box<dyn FnOnce(&Engine) -> Option<Job> + Send>;

/// Whether the last failure may be that of writing the finalizer.
pub(super) fn is_of_finalizer(memory: &Memory) -> bool {
    memory.failing.as_ref().is_some_and(|(reason, _)| *reason == Reason::InternalError)
}

impl Engine {
    /// Begins to make a status durable; the entry carries it from now on.
    pub(super) fn record(&mut self, id: SubscriptionId, status: SubscriptionStatus, then: Then) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(mut object) = entry.object() else {
            return;
        };
        object.status = status;
        entry.store(&object);
        entry.work = Work::Busy;
        self.state.index(id, &object);
        let (term, status) = (self.term, Arc::new(object.status));
        let Some(namespace) = self.state.entry(id).map(|entry| entry.namespace) else {
            return;
        };
        self.write(namespace, move |engine| {
            let object = engine.state.entry(id).and_then(super::entry::Entry::object)?;
            let record = Arc::clone(&engine.ports.record);
            let written = Arc::clone(&status);
            // What an older term wanted to write says less than what another leader has written since.
            let may_write = term.is_some() && term == engine.term;
            let call = async move {
                if !may_write {
                    return Err(RecordFailure::Superseded);
                }
                let identity = &object.identity;
                record.subscription(&identity.key, &identity.uid, &written).await
            };
            Some(engine.record_job(id, call, move |result| Report::Recorded { status, then, result }))
        });
    }

    /// Puts a write in line, and begins it at once where there is a place.
    pub(super) fn write(
        &mut self,
        namespace: NamespaceId,
        begin: impl FnOnce(&Engine) -> Option<Job> + Send + 'static,
    ) {
        self.arrivals += 1;
        self.write_queue.put(namespace, self.arrivals, Box::new(begin));
        self.start_writes();
    }

    pub(super) fn start_writes(&mut self) {
        let alone = self.state.is_alone();
        loop {
            let recorders = &self.recorders;
            let next = self.write_queue.next(|namespace| recorders.free_for(namespace, alone));
            let Some((namespace, _, begin)) = next else {
                break;
            };
            if let Some(job) = begin(self) {
                self.recorders.take(namespace);
                self.jobs.push(Box::pin(async move { Done { wrote_for: Some(namespace), ..job.await } }));
            }
        }
    }

    pub(super) fn recorded(
        &mut self,
        id: SubscriptionId,
        status: &SubscriptionStatus,
        then: Then,
        result: Result<(), RecordFailure>,
        now: Moment,
    ) {
        let durable = matches!(result, Ok(()) | Err(RecordFailure::Gone));
        if let Err(failure) = &result
            && !durable
            && let Some(entry) = self.state.entry_mut(id)
        {
            let failed = entry.unrecorded.map_or(0, |(_, failed)| failed);
            let wait = backoff::delay(failed, Duration::from_secs(30), self.ports.random.bits());
            entry.unrecorded = Some((Wait::starting(now.wall, wait), failed + 1));
            tracing::warn!(subscription = %entry.key, %failure, "the status could not be recorded; it is tried again");
        } else if let Some(entry) = self.state.entry_mut(id) {
            entry.unrecorded = None;
            let source = entry.source;
            let unrecorded = |id: &SourceId| self.state.source(*id).is_some_and(|source| source.unrecorded);
            if let Some(source) = source.filter(unrecorded) {
                self.record_source(source, now);
            }
        }
        match then {
            Then::Reconcile => self.rest(id),
            Then::Create(creating) if result.is_ok() => self.create_now(id, creating),
            Then::Create(_) => {
                // Whether the record is there is not known, but nothing was sent and nothing will be.
                self.end_call(id, None);
                self.put_status(id, &status::creation_closed(status));
                self.rest(id);
            }
            Then::Release(owner) => {
                self.rest(id);
                let object = self.state.entry(owner).and_then(super::entry::Entry::object);
                match object {
                    Some(object) if durable => self.let_go(owner, &object),
                    _ => self.rest(owner),
                }
            }
        }
    }

    pub(super) fn let_go(&mut self, id: SubscriptionId, object: &Object) {
        if let Some(entry) = self.state.entry_mut(id) {
            entry.let_go = true;
        }
        let record = Arc::clone(&self.ports.record);
        let (key, uid) = (object.identity.key.clone(), object.identity.uid.clone());
        let call = async move { record.release(&key, &uid).await };
        self.spawn_record(id, call, Report::Released);
    }

    /// Changes the status in memory only.
    pub(super) fn put_status(&mut self, id: SubscriptionId, status: &SubscriptionStatus) {
        let Some(entry) = self.state.entry_mut(id) else {
            return;
        };
        let Some(mut object) = entry.object() else {
            return;
        };
        object.status = status.clone();
        entry.store(&object);
        self.state.index(id, &object);
    }

    /// The finalizer stands, or stands no more.
    pub(super) fn finalizer_written(
        &mut self,
        id: SubscriptionId,
        wanted: bool,
        result: Result<(), RecordFailure>,
        now: Moment,
    ) {
        match result {
            Ok(()) => {
                if let Some(entry) = self.state.entry_mut(id)
                    && let Some(mut object) = entry.object()
                {
                    object.identity.has_finalizer = wanted;
                    if is_of_finalizer(&entry.memory()) {
                        // No call follows that would say that all is well again.
                        entry.remember(|memory| {
                            memory.wait = None;
                            memory.failures = 0;
                            memory.failing = None;
                        });
                        object.status.failures = None;
                    }
                    entry.store(&object);
                }
                self.rest(id);
            }
            Err(failure) => {
                let done = if wanted { "added" } else { "removed" };
                let what = format!("the finalizer could not be {done}: {failure}");
                self.fail(
                    id,
                    &Judgement { reason: Reason::InternalError, ..internal(&what) },
                    Operation::Create,
                    now,
                );
            }
        }
    }

    pub(super) fn released(&mut self, id: SubscriptionId, result: Result<(), RecordFailure>, now: Moment) {
        match result {
            Ok(()) | Err(RecordFailure::Gone) => {
                let successor = self.state.entry_mut(id).and_then(|entry| entry.successor.take());
                // Whoever waited for this one's remote is looked at again: see `State::freed`.
                self.remove_subscription(id);
                if let Some(successor) = successor {
                    self.change(*successor);
                }
            }
            Err(failure) => {
                let random = self.ports.random.bits();
                let Some(entry) = self.state.entry_mut(id) else {
                    return;
                };
                entry.work = Work::None;
                let mut failed = 0;
                entry.remember(|memory| {
                    failed = memory.unreleased;
                    memory.unreleased = failed.saturating_add(1);
                });
                tracing::warn!(
                    subscription = %entry.key,
                    %failure,
                    "a deleted object could not be let go; it is tried again"
                );
                let wait = backoff::delay(failed.saturating_add(2), LONGEST_RELEASE_PAUSE, random);
                self.file(id, Some(crate::rotation::time::add(now.wall, wait)), now);
            }
        }
    }
}
