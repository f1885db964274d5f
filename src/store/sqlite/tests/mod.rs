//! What SQLite's engine does beyond the suite that every engine has to pass.

mod costs;
mod failing;
mod migrating;
mod refusals;
mod sealing;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::suite::Ground;

mod in_clear {
    crate::store::suite::suite! { super::Folder::new(None) }
}

mod sealed {
    crate::store::suite::suite! { super::Folder::new(Some(1)) }
}

/// A folder for one test.
struct Folder {
    folder: tempfile::TempDir,
    key: Option<u8>,
}

impl Folder {
    /// In clear, or sealed with the key of this seed.
    fn new(key: Option<u8>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), key }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn options(&self) -> SqliteOptions {
        let sealer = self.key.map(|seed| Sealer::new(key(seed), None));
        // The folder for temporary files may well be in memory.
        SqliteOptions { may_vanish: true, sealer, ..SqliteOptions::new(self.path().to_owned()) }
    }

    fn store(&self) -> SqliteStore {
        loop {
            match SqliteStore::open(self.options()) {
                // A program that another test starts has our files until it is the program.
                Err(OpenError::InUse { .. }) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    /// The store opened with two keys, the first of which seals.
    fn store_with_keys(&self, first: u8, second: u8) -> SqliteStore {
        let sealer = Some(Sealer::new(key(first), Some(key(second))));
        SqliteStore::open(SqliteOptions { sealer, ..self.options() }).unwrap()
    }

    /// Names and contents of all files but the lock.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .filter(|(name, _)| name != "hookkeeper.lock")
            .collect()
    }
}

impl Ground for Folder {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(self.store()) as Arc<dyn Store> })
    }

    fn keys(&self) -> BoxFuture<'_, (u64, u64)> {
        let connection = rusqlite::Connection::open(self.path().join("hookkeeper.db")).unwrap();
        let counted = "SELECT (SELECT coalesce(sum(keys), 0) FROM receivers), (SELECT count(*) FROM keys)";
        let count = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let keys = connection.query_row(counted, [], |row| Ok((count(row, 0)?, count(row, 1)?))).unwrap();
        Box::pin(std::future::ready(keys))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_calls_ends_as_the_model_says(calls in crate::store::model::calls()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(crate::store::model::follow(&Folder::new(None), calls));
    }
}

fn key(seed: u8) -> MasterKey {
    let bytes: Vec<u8> = (0..32).map(|index| seed.wrapping_add(index) | 0x80).collect();
    MasterKey::parse(&bytes).unwrap()
}

fn sqlite_error(code: std::ffi::c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}
