//! What is asked of the thread that has the connection, and how it answers.

use tokio::sync::oneshot;

use super::engine::Engine;
use super::error::meaning;
use crate::store::StoreError;

/// Something that reads, between two commits.
pub(super) trait Read: Send {
    fn run(self: Box<Self>, engine: &mut Engine);
    fn refuse(self: Box<Self>, error: StoreError);
}

/// Something that changes rows, as a part of a commit.
pub(super) trait Change: Send {
    /// Does it, inside of the open transaction.
    fn run(&mut self, engine: &mut Engine) -> rusqlite::Result<()>;
    /// The commit succeeded, or nothing of it has happened.
    fn settle(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// An answer that somebody waits for.
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A [`Read`] made of a function.
pub(super) struct ReadOnce<T, F> {
    pub(super) read: F,
    pub(super) reply: Reply<T>,
}

impl<T, F> Read for ReadOnce<T, F>
where
    T: Send,
    F: FnOnce(&mut Engine) -> rusqlite::Result<T> + Send,
{
    fn run(self: Box<Self>, engine: &mut Engine) {
        let answer = (self.read)(engine).map_err(|error| meaning(&error));
        if let Err(error @ StoreError::Broken(_)) = &answer {
            engine.fail(error.clone());
        }
        // Who asked may have gone away.
        let _ = self.reply.send(answer);
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

/// A [`Change`] made of a function.
pub(super) struct ChangeOnce<T, F> {
    pub(super) change: Option<F>,
    pub(super) answer: Option<T>,
    pub(super) reply: Reply<T>,
}

impl<T, F> Change for ChangeOnce<T, F>
where
    T: Send,
    F: FnOnce(&mut Engine) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, engine: &mut Engine) -> rusqlite::Result<()> {
        if let Some(change) = self.change.take() {
            self.answer = Some(change(engine)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match (outcome, self.answer) {
            (Ok(()), Some(answer)) => Ok(answer),
            (Ok(()), None) => Err(StoreError::Unavailable("it was not done".to_owned())),
            (Err(error), _) => Err(error),
        };
        let _ = self.reply.send(answer);
    }
}
