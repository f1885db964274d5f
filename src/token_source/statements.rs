//! What is stated of a token's life, in several places at once.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::expiry;
use crate::engine::ports::{Lifetime, MintFailure};

/// Everything that is stated of one token's life.
#[derive(Default)]
pub(super) struct Statements {
    lives: Vec<Duration>,
    /// A place that states 0 or less.
    nothing_at: Option<String>,
}

impl Statements {
    /// Whether no life is stated.
    pub(super) fn is_empty(&self) -> bool {
        self.lives.is_empty()
    }

    /// Adds a life. One of nothing counts as not stated.
    pub(super) fn add_life(&mut self, life: Duration, place: &str) {
        if life.is_zero() {
            self.nothing_at.get_or_insert_with(|| place.to_owned());
        } else {
            self.lives.push(life);
        }
    }

    /// Adds the end of a life. The beginning of 1970 counts as not stated.
    ///
    /// # Errors
    /// The life has ended.
    pub(super) fn add_end(
        &mut self,
        end: DateTime<Utc>,
        place: &str,
        now: DateTime<Utc>,
    ) -> Result<(), MintFailure> {
        let life = if end == DateTime::UNIX_EPOCH {
            Duration::ZERO
        } else {
            expiry::life_until(end, now).ok_or(MintFailure::ExpiredOnArrival)?
        };
        self.add_life(life, place);
        Ok(())
    }

    /// Adds the end that the token itself states, if it does.
    ///
    /// # Errors
    /// The life has ended.
    pub(super) fn add_own(
        &mut self,
        end: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<(), MintFailure> {
        end.map_or(Ok(()), |end| self.add_end(end, "the token's own exp", now))
    }

    /// The life that counts: the earliest end of those that are stated, else the assumed one.
    ///
    /// # Errors
    /// What is stated is 0 or less, and nothing is assumed.
    pub(super) fn lifetime(self, assumed: Option<Duration>) -> Result<Lifetime, MintFailure> {
        match (Lifetime::stated(self.lives), assumed, self.nothing_at) {
            (Some(stated), _, _) => Ok(stated),
            (None, None, Some(place)) => Err(MintFailure::NoLife { place }),
            (None, assumed, _) => Ok(Lifetime::assumed(assumed)),
        }
    }
}
