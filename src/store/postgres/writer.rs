//! The tasks that write: what comes together shares a commit, and is answered when that is durable.
//!
//! | the database says | what becomes of the batch |
//! |---|---|
//! | committed | each one is answered |
//! | nothing, or the connection ends | none was acknowledged; whether it is there nobody knows |
//! | two were in each other's way | the same once more |
//! | somebody holds a receiver too long | its jobs are refused, the others are done |
//! | one statement is wrong | one job after the other, so that one that cannot be written spoils no other |

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use super::error::{Kind, Trouble};
use super::expecting;
use super::jobs::{Asked, Job, Outcome};
use super::loading::{Locked, Patience, add_accounts, free, load, lock};
use super::queue::Queue;
use super::session::Session;
use super::sessions::Sessions;
use super::writing::write;
use crate::store::columns::micros;
use crate::store::{Owner, StoreError};

/// How often accounts are made for a batch: between making one and locking it, it may be cleared away.
const TRIES: usize = 3;

/// Writes what is in one queue.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) most_keys: u64,
}

/// What came of each job; `None` of one that was left out.
type Outcomes = Vec<Option<Outcome>>;

impl Writer {
    /// Works until the queue is closed.
    pub(super) async fn run(self) {
        while let Some(work) = self.queue.next().await {
            // A panic is a defect; who waits is told so by the end of their channel, and others go on.
            if AssertUnwindSafe(self.work(work)).catch_unwind().await.is_err() {
                tracing::error!(
                    "a batch has ended with a panic, which is a defect of hookkeeper; please report it"
                );
            }
        }
    }

    async fn work(&self, work: Vec<Asked>) {
        let (jobs, replies): (Vec<Job>, Vec<_>) =
            work.into_iter().map(|Asked { job, reply }| (job, reply)).unzip();
        let jobs: Vec<&Job> = jobs.iter().collect();
        for (reply, answer) in replies.into_iter().zip(self.answers(&jobs).await) {
            // Who asked may have gone away.
            let _ = reply.send(answer);
        }
    }

    /// One answer for each job.
    async fn answers(&self, jobs: &[&Job]) -> Vec<Result<Outcome, StoreError>> {
        match self.batch(jobs).await {
            Ok(outcomes) => outcomes.into_iter().map(answer).collect(),
            Err(trouble) if is_about_one(&trouble) && jobs.len() > 1 => {
                tracing::debug!(error = %trouble.meaning(), "a batch is done one by one");
                let mut answers = Vec::with_capacity(jobs.len());
                for job in jobs {
                    let one = self.batch(&[*job]).await;
                    let one = one.map(|outcomes| outcomes.into_iter().next().flatten());
                    answers.push(one.map_err(|trouble| trouble.meaning()).and_then(answer));
                }
                answers
            }
            Err(trouble) => {
                let error = trouble.meaning();
                jobs.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    async fn batch(&self, jobs: &[&Job]) -> Result<Outcomes, Trouble> {
        match self.attempt(jobs, Patience::Wait).await {
            Err(Trouble::Refused { code, .. }) if Kind::of(&code) == Kind::Repeatable => {
                self.attempt(jobs, Patience::Wait).await
            }
            Err(Trouble::Refused { code, .. }) if Kind::of(&code) == Kind::Locked => {
                self.attempt(jobs, Patience::LeaveOut).await
            }
            done => done,
        }
    }

    async fn attempt(&self, jobs: &[&Job], patience: Patience) -> Result<Outcomes, Trouble> {
        let mut lent = self.sessions.lend().await?;
        let done = self.transaction(&mut lent.session, jobs, patience).await;
        lent.after(done)
    }

    async fn transaction(
        &self,
        session: &mut Session,
        jobs: &[&Job],
        patience: Patience,
    ) -> Result<Outcomes, Trouble> {
        for _ in 0..TRIES {
            let locked = match lock(session, jobs, patience).await {
                Ok(locked) => locked,
                Err(trouble) => return session.settled(Err(trouble)).await,
            };
            let missing: Vec<&Owner> =
                jobs.iter().filter_map(|job| job.owner()).filter(|owner| !locked.has(&owner.uid)).collect();
            if patience == Patience::LeaveOut {
                let done = self.without_held(session, locked, jobs).await;
                return session.settled(done).await;
            }
            if missing.is_empty() {
                let done = self.decide(session, locked, jobs).await;
                return session.settled(done).await;
            }
            session.roll_back().await?;
            add_accounts(session, &missing).await?;
        }
        Err(StoreError::Unavailable("its receivers come and go".to_owned()).into())
    }

    /// Decides on the jobs whose receivers are locked, and leaves the others out.
    async fn without_held(
        &self,
        session: &mut Session,
        locked: Locked,
        jobs: &[&Job],
    ) -> Result<Outcomes, Trouble> {
        let is_free = free(session, &locked, jobs).await?;
        let kept: Vec<&Job> =
            jobs.iter().zip(&is_free).filter(|(_, is_free)| **is_free).map(|(job, _)| *job).collect();
        let mut outcomes = self.decide(session, locked, &kept).await?.into_iter();
        Ok(is_free
            .into_iter()
            .map(|is_free| if is_free { outcomes.next().flatten() } else { None })
            .collect())
    }

    async fn decide(
        &self,
        session: &mut Session,
        locked: Locked,
        jobs: &[&Job],
    ) -> Result<Outcomes, Trouble> {
        let mut batch = load(session, locked, jobs).await?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut latest = i64::MIN;
        for (number, job) in jobs.iter().enumerate() {
            let outcome = match expecting::decide(session, &mut batch.ledger, job).await? {
                Some(outcome) => Some(outcome),
                None => batch.decide(number, job),
            };
            if let Job::Put(put) = job {
                latest = latest.max(micros(put.arrived));
            }
            outcomes.push(outcome);
        }
        write(session, &mut batch, jobs, self.most_keys, latest).await?;
        Ok(outcomes)
    }
}

fn answer(outcome: Option<Outcome>) -> Result<Outcome, StoreError> {
    outcome.ok_or_else(|| StoreError::Unavailable("somebody else holds its receiver".to_owned()))
}

/// Whether it may be about one of several jobs.
fn is_about_one(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Refused { code, .. } => matches!(Kind::of(code), Kind::Other | Kind::Repeatable),
        Trouble::Away(_) | Trouble::Store(_) | Trouble::Open(_) => false,
    }
}
