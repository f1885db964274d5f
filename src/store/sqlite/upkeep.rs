//! What the thread does beside its work: it looks after the disk, the log and the free pages of the file.

use std::time::{Duration, Instant};

use rusqlite::OptionalExtension;
use rusqlite::wal::CheckpointMode;

use super::engine::Engine;
use super::error::meaning;
use crate::store::StoreError;

/// Frames in the log after which they are brought into the file: 16 MiB.
const CHECKPOINT_FRAMES: i32 = 4096;

/// At the latest then the log is emptied.
const EMPTIED_EVERY: Duration = Duration::from_secs(3600);

/// How often some rows are sealed with a new key while there is other work.
const RESEALING_EVERY: Duration = Duration::from_millis(100);

/// How often a full disk is looked at again.
const FULL_DISK_EVERY: Duration = Duration::from_secs(1);

/// Pages that are given back to the file system in one go. Each may move others, and these go into the log
/// first: on a full disk the log must not need more than what is held back.
const PAGES_GIVEN_BACK: u32 = 2048;

impl Engine {
    /// Whether deliveries may be picked: not while what becomes of them cannot be written down.
    pub(super) fn may_pick(&mut self) -> bool {
        if self.is_full && self.is_time_for_full_disk() {
            self.return_pages(PAGES_GIVEN_BACK);
            // Whether a commit succeeds again is known when one was tried.
            let result = self.transaction(|engine| {
                engine.connection.execute("UPDATE store SET one = one", []).map(|_| ())
            });
            if result.is_ok() {
                tracing::info!("the disk of the store has space again");
            }
        }
        !self.is_full
    }

    fn is_time_for_full_disk(&mut self) -> bool {
        let now = Instant::now();
        if self.looked_at_full_disk.is_some_and(|last| now.duration_since(last) < FULL_DISK_EVERY) {
            return false;
        }
        self.looked_at_full_disk = Some(now);
        true
    }

    /// Whether new deliveries fit on the disk beside what is held back for those that are there: once into
    /// the log and once into the file, together with what of the log is not in the file yet.
    pub(super) fn room_for(&mut self, puts: usize, bytes: usize) -> Result<(), StoreError> {
        const ROW: u64 = 4096;
        if puts == 0 {
            return Ok(());
        }
        let needed = |engine: &Self| {
            let log = u64::from(engine.log_frames.unsigned_abs()) * ROW;
            engine.reserve + log + 2 * (bytes as u64 + puts as u64 * ROW)
        };
        let mut free = self.free()?;
        if free < needed(self) && self.is_time_for_full_disk() {
            // Where deliveries keep coming there is no quiet time in which this would be done.
            self.return_pages(PAGES_GIVEN_BACK);
            self.empty_log();
            free = self.free()?;
        }
        let needed = needed(self);
        if free < needed {
            return Err(StoreError::Full(format!(
                "{} MiB are left, and {} MiB are kept for deliveries that are there already",
                free >> 20,
                self.reserve >> 20
            )));
        }
        self.ledger.left(free - needed);
        Ok(())
    }

    fn free(&self) -> Result<u64, StoreError> {
        self.place
            .free()
            .map_err(|error| StoreError::Unavailable(format!("how full its disk is cannot be seen: {error}")))
    }

    pub(super) fn tidy_up(&mut self, is_idle: bool) {
        if self.failure().is_some() {
            return;
        }
        if is_idle || self.resealed.elapsed() >= RESEALING_EVERY {
            self.reseal();
        }
        self.log_frames = self
            .connection
            .wal_checkpoint_v2(None::<&str>, CheckpointMode::NOOP)
            .map_or(0, |(frames, _)| frames);
        if self.emptied.elapsed() >= EMPTIED_EVERY
            || is_idle && self.resealing.is_done() && self.log_frames > 0
        {
            self.return_pages(PAGES_GIVEN_BACK);
            self.empty_log();
        } else if self.log_frames >= CHECKPOINT_FRAMES {
            self.checkpoint(CheckpointMode::PASSIVE);
        }
    }

    fn reseal(&mut self) {
        let mut resealing = std::mem::take(&mut self.resealing);
        if let Err(error) = resealing.step(self) {
            tracing::warn!(error = %error, "rows cannot be sealed with the new data key yet");
        }
        self.resealing = resealing;
        self.resealed = Instant::now();
    }

    /// Empties the log into the file.
    pub(super) fn empty_log(&mut self) {
        self.checkpoint(CheckpointMode::TRUNCATE);
        self.emptied = Instant::now();
    }

    /// Brings the log into the file. By hand and not by SQLite's own automatism: that one ignores an fsync
    /// that fails, and the log, the only good copy, would be written over.
    fn checkpoint(&mut self, mode: CheckpointMode) {
        match self.connection.wal_checkpoint_v2(None::<&str>, mode) {
            Ok(_) => self.log_frames = 0,
            Err(error) => match meaning(&error) {
                broken @ StoreError::Broken(_) => self.fail(broken),
                // Everything is still in the log.
                other => tracing::warn!(error = %other, "the log of the store cannot be emptied yet"),
            },
        }
    }

    /// Each step of this statement gives one page back.
    fn vacuum(&self, pages: u32) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// Gives free pages of the file back to the file system.
    pub(super) fn return_pages(&mut self, pages: u32) {
        let free: rusqlite::Result<Option<u32>> =
            self.connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).optional();
        if matches!(free, Ok(Some(count)) if count > 0) {
            if let Err(error) = self.vacuum(pages) {
                match meaning(&error) {
                    broken @ StoreError::Broken(_) => self.fail(broken),
                    other => tracing::debug!(error = %other, "free pages cannot be given back yet"),
                }
            }
            self.empty_log();
        }
    }
}
