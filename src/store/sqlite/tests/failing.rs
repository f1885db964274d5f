//! Errors of the disk. That the operating system's errors become these errors is shown on real file systems,
//! in the integration tests.

use rusqlite::ffi;

use super::*;
use crate::store::suite::{at, delivery, id};
use crate::store::{Put, StoreError};

async fn has_failed(store: &SqliteStore) -> bool {
    tokio::time::timeout(Duration::ZERO, store.failed()).await.is_ok()
}

#[tokio::test]
async fn after_an_error_of_the_disk_nothing_is_believed_any_more() {
    for code in [
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR_READ,
        ffi::SQLITE_CORRUPT,
        ffi::SQLITE_NOTADB,
        ffi::SQLITE_IOERR_TRUNCATE,
    ] {
        for is_change in [true, false] {
            let folder = Folder::new(None);
            let store = folder.store();
            assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
            assert!(!has_failed(&store).await);
            let result: Result<(), StoreError> = if is_change {
                store
                    .change(move |engine| {
                        engine.connection.execute("DELETE FROM bodies", [])?;
                        Err(sqlite_error(code))
                    })
                    .await
            } else {
                store.read(move |_| Err(sqlite_error(code))).await
            };
            let Err(StoreError::Broken(problem)) = &result else { panic!("{code}: {result:?}") };
            assert!(has_failed(&store).await, "{code}");
            assert_eq!(store.failed().await, StoreError::Broken(problem.clone()));
            for error in [
                store.put(delivery(2)).await.map(|_| ()),
                store.done(id(1)).await,
                store.usage().await.map(|_| ()),
                store.close().await,
            ] {
                assert!(matches!(error, Err(StoreError::Broken(_))), "{code}: {error:?}");
            }
            drop(store);
            // The next process finds what was answered.
            let body = folder.store().body(id(1)).await;
            assert_eq!(body, Ok(Some(delivery(1).body)), "{code}");
        }
    }
}

/// Says when the full disk was looked at last.
async fn look_again_after(store: &SqliteStore, last: Option<std::time::Instant>) {
    let set = move |engine: &mut Engine| {
        engine.looked_at_full_disk = last;
        Ok(())
    };
    store.read(set).await.unwrap();
}

#[tokio::test]
async fn while_the_disk_is_full_nothing_is_picked() {
    let folder = Folder::new(None);
    let store = folder.store();
    store.put(delivery(1)).await.unwrap();
    let full = store.change::<()>(|_| Err(sqlite_error(ffi::SQLITE_FULL))).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    // Looked at a moment ago: not again for each call.
    look_again_after(&store, Some(std::time::Instant::now() + Duration::from_secs(3600))).await;
    let take = || store.take("uid-a-one", 1, at(1), Duration::from_secs(60));
    assert!(matches!(take().await, Err(StoreError::Full(_))));
    assert!(!has_failed(&store).await);
    store.put(delivery(2)).await.unwrap();
    assert_eq!(take().await.unwrap().len(), 1, "a commit has succeeded again");

    // With nothing else to be written, the store tries by itself.
    let full = store.change::<()>(|_| Err(sqlite_error(ffi::SQLITE_FULL))).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    look_again_after(&store, None).await;
    assert_eq!(take().await.unwrap().len(), 1);
}

#[tokio::test]
async fn below_what_is_held_back_only_deliveries_that_are_there_already_go_on() {
    let folder = Folder::new(None);
    let store = folder.store();
    store.put(delivery(1)).await.unwrap();
    drop(store);
    let store = SqliteStore::open(SqliteOptions { reserve: u64::MAX / 4, ..folder.options() }).unwrap();
    let error = store.put(delivery(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    let taken = store.take("uid-a-one", 1, at(1), Duration::from_secs(60)).await.unwrap();
    let failure = LastFailure { what: "answered 500".to_owned(), when: at(1) };
    store.retry(id(1), taken[0].claim, at(2), true, failure.clone()).await.unwrap();
    let taken = store.take("uid-a-one", 1, at(2), Duration::from_secs(60)).await.unwrap();
    store.park(id(1), taken[0].claim, failure).await.unwrap();
    assert_eq!(store.replay(id(1), at(3)).await, Ok(true));
    store.done(id(1)).await.unwrap();
    assert!(!has_failed(&store).await);
}

#[tokio::test]
async fn a_change_that_fails_takes_back_everything_in_its_commit() {
    let folder = Folder::new(None);
    let store = folder.store();
    store.put(delivery(1)).await.unwrap();
    let before = store.usage().await.unwrap();
    let result: Result<(), StoreError> = store
        .change(|engine| {
            engine.done(id(1))?;
            Err(sqlite_error(ffi::SQLITE_FULL))
        })
        .await;
    assert!(matches!(result, Err(StoreError::Full(_))));
    assert_eq!(store.usage().await.unwrap(), before);
    assert_eq!(store.body(id(1)).await, Ok(Some(delivery(1).body)));
    store.done(id(1)).await.unwrap();
    assert_eq!(store.body(id(1)).await, Ok(None));
}

#[tokio::test]
async fn a_thread_that_panics_is_a_failure() {
    let folder = Folder::new(None);
    let store = folder.store();
    let result: Result<(), StoreError> = store.read(|_| panic!("on purpose, in a test")).await;
    assert!(matches!(result, Err(StoreError::Broken(_))), "{result:?}");
    assert!(matches!(store.failed().await, StoreError::Broken(_)));
    assert!(matches!(store.put(delivery(1)).await, Err(StoreError::Broken(_))));
}
