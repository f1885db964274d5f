use std::sync::Arc;

use futures::future::BoxFuture;

use super::*;
use crate::store::seal::MasterKey;
use crate::store::suite::Ground;

/// A folder for one test.
struct Folder {
    folder: tempfile::TempDir,
    is_sealed: bool,
}

impl Folder {
    fn new(is_sealed: bool) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), is_sealed }
    }

    fn options(&self) -> SqliteOptions {
        let sealer = self.is_sealed.then(|| Sealer::new(key(1), None));
        // The folder for temporary files may well be in memory.
        SqliteOptions { may_vanish: true, sealer, ..SqliteOptions::new(self.folder.path().to_owned()) }
    }
}

impl Ground for Folder {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(SqliteStore::open(self.options()).unwrap()) as Arc<dyn Store> })
    }
}

fn key(seed: u8) -> MasterKey {
    let bytes: Vec<u8> = (0..32).map(|index| seed.wrapping_add(index) | 0x80).collect();
    MasterKey::parse(&bytes).unwrap()
}

mod in_clear {
    crate::store::suite::suite! { super::Folder::new(false) }
}

mod sealed {
    crate::store::suite::suite! { super::Folder::new(true) }
}
