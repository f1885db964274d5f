//! What PostgreSQL's engine does beyond the suite that every engine has to pass, on real servers.

mod batches;
mod claims;
mod costs;
mod gates;
mod migrating;
mod outages;
mod refusals;
mod sealing;
pub mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use proptest::prelude::*;

use self::server::{PASSWORD, ROLE, Server, shared};
use super::*;
use crate::store::seal::MasterKey;
use crate::store::suite::Ground;
use crate::store::{Store, StoreError};

mod in_clear {
    crate::store::suite::suite! { super::Base::new(None) }
}

mod sealed {
    crate::store::suite::suite! { super::Base::new(Some(1)) }
}

/// A database for one test.
struct Base<'a> {
    server: &'a Server,
    name: String,
    key: Option<u8>,
    files: tempfile::TempDir,
}

impl Base<'static> {
    /// In clear, or sealed with the key of this seed.
    fn new(key: Option<u8>) -> Self {
        Self::on(shared(), key)
    }
}

impl<'a> Base<'a> {
    fn on(server: &'a Server, key: Option<u8>) -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("user"), format!("{ROLE}\n")).unwrap();
        std::fs::write(files.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        Self { server, name: server.database(), key, files }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions {
            user_file: Some(self.file("user")),
            password_file: Some(self.file("password")),
            tls: DatabaseTls::Disable,
            connections: 4,
            sealer: self.key.map(|seed| Sealer::new(key(seed), None)),
            ..PostgresOptions::new(self.server.address(&self.name).parse().unwrap())
        }
    }

    /// The store, its claims judged by the time that the caller says.
    async fn store(&self) -> PostgresStore {
        PostgresStore::open_with(self.options(), ClaimClock::Caller).await.unwrap()
    }

    /// The store as a gate opens it.
    async fn real_store(&self) -> PostgresStore {
        PostgresStore::open(self.options()).await.unwrap()
    }

    async fn refused(&self, options: PostgresOptions) -> PostgresError {
        PostgresStore::open(options).await.map(drop).unwrap_err()
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    /// How many rows a query has.
    fn count(&self, of: &str) -> u64 {
        self.sql(&format!("SELECT count(*) FROM hookkeeper.{of}")).parse().unwrap()
    }
}

impl Ground for Base<'_> {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { Arc::new(self.store().await) as Arc<dyn Store> })
    }

    fn keys(&self) -> BoxFuture<'_, (u64, u64)> {
        let counted = self.sql("SELECT coalesce(sum(keys), 0) FROM hookkeeper.receivers").parse().unwrap();
        Box::pin(std::future::ready((counted, self.count("keys"))))
    }

    fn counts_what_is_taken(&self) -> bool {
        true
    }

    fn claims_end_with_the_process(&self) -> bool {
        false
    }
}

fn key(seed: u8) -> MasterKey {
    let bytes: Vec<u8> = (0..32).map(|index| seed.wrapping_add(index) | 0x80).collect();
    MasterKey::parse(&bytes).unwrap()
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "not seen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_calls_ends_as_the_model_says(calls in crate::store::model::calls()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let base = Base::new(None);
        runtime.block_on(crate::store::model::follow(&base, calls));
    }
}
