//! What lies on the disk when a key is given, and how a key is changed.

use super::*;
use crate::store::suite::{at, delivery, id, owner};
use crate::store::{Expectation, Put, RowState, StoreError};

const CANARY: &str = "canary-of-a-body-4711";

fn canaries() -> NewDelivery {
    NewDelivery {
        body: format!("{{\"access_token\":\"{CANARY}\"}}").into(),
        content_type: Some(format!("{CANARY}/type")),
        content_encoding: Some(format!("{CANARY}-encoding")),
        event_time: Some(format!("{CANARY}-time")),
        ..delivery(1)
    }
}

fn expected_canary() -> Expectation {
    Expectation {
        owner: owner("a", "one"),
        id: format!("{CANARY}-id"),
        since: at(0),
        due: at(0),
        handed_on: None,
        parked: false,
    }
}

/// How often the canary is in the files.
fn found(folder: &Folder) -> usize {
    folder
        .files()
        .values()
        .map(|bytes| bytes.windows(CANARY.len()).filter(|w| *w == CANARY.as_bytes()).count())
        .sum()
}

async fn fill(store: &SqliteStore) {
    assert_eq!(store.put(canaries()).await, Ok(Put::Stored));
    assert_eq!(store.expect(expected_canary(), 10).await, Ok(true));
    let taken = store.take("uid-a-one", 1, at(1), Duration::from_secs(60)).await.unwrap();
    let what = "the application answered 500".to_owned();
    store.retry(id(1), taken[0].claim, at(9), true, LastFailure { what, when: at(2) }).await.unwrap();
}

async fn is_whole(store: &SqliteStore) {
    let taken = store.take("uid-a-one", 1, at(1000), Duration::from_secs(60)).await.unwrap();
    assert_eq!((&taken[0].body, &taken[0].content_type), (&canaries().body, &canaries().content_type));
    assert_eq!(taken[0].event_time, canaries().event_time);
    assert_eq!(taken[0].content_encoding, canaries().content_encoding);
    let due = store.expectations_due("uid-a-one", at(1000), 10).await.unwrap();
    assert_eq!(due, [expected_canary()]);
    assert_eq!(store.expectation("uid-a-one", &expected_canary().id).await.unwrap(), Some(expected_canary()));
}

async fn resealed(store: &SqliteStore) {
    while !store.read(|engine| Ok(engine.resealing.is_done())).await.unwrap() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_that_came_from_outside_is_in_the_files() {
    for key in [Some(1), None] {
        let folder = Folder::new(key);
        let store = folder.store();
        assert_eq!(store.is_sealing(), key.is_some());
        fill(&store).await;
        let while_open = found(&folder);
        let digest_key = *store.digest_key();
        store.close().await.unwrap();
        let has_digest_key =
            folder.files().values().any(|bytes| bytes.windows(32).any(|window| window == digest_key));
        if key.is_some() {
            assert_eq!((while_open, found(&folder), has_digest_key), (0, 0, false));
        } else {
            // The search finds what is there.
            assert!(while_open >= 5 && found(&folder) >= 5 && has_digest_key);
        }
    }
}

#[tokio::test]
async fn a_key_is_changed_without_losing_a_row() {
    let folder = Folder::new(Some(1));
    let store = folder.store();
    let digest_key = *store.digest_key();
    fill(&store).await;
    drop(store);

    let refused = |key| {
        let before = folder.files();
        let sealer = key;
        let error = SqliteStore::open(SqliteOptions { sealer, ..folder.options() }).map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::KeyStillNeeded { .. }), "{error}");
        assert!(error.to_string().contains(&key_id(1)), "{error}");
        assert!(folder.files() == before);
    };
    refused(None);
    refused(Some(Sealer::new(key(2), None)));
    refused(Some(Sealer::new(key(2), Some(key(3)))));

    let store = folder.store_with_keys(2, 1);
    is_whole(&store).await;
    resealed(&store).await;
    is_whole_again(&store).await;
    drop(store);
    let store =
        SqliteStore::open(SqliteOptions { sealer: Some(Sealer::new(key(2), None)), ..folder.options() })
            .unwrap();
    is_whole(&store).await;
    assert_eq!(*store.digest_key(), digest_key);
}

/// After the lease of the first look.
async fn is_whole_again(store: &SqliteStore) {
    let body = store.body(id(1)).await.unwrap();
    assert_eq!(body, Some(canaries().body));
}

fn key_id(seed: u8) -> String {
    key(seed).id().to_string()
}

#[tokio::test]
async fn a_store_in_clear_is_sealed_when_a_key_is_given() {
    let folder = Folder::new(None);
    let store = folder.store();
    fill(&store).await;
    let digest_key = *store.digest_key();
    drop(store);
    let sealed = || SqliteOptions { sealer: Some(Sealer::new(key(1), None)), ..folder.options() };
    let store = SqliteStore::open(sealed()).unwrap();
    assert!(store.is_sealing());
    resealed(&store).await;
    is_whole(&store).await;
    let in_clear: i64 = store
        .read(|engine| {
            engine.connection.query_row(
                "SELECT (SELECT count(*) FROM bodies WHERE seal = 0) + (SELECT count(*) FROM expectations WHERE seal = 0)
                     + (SELECT count(*) FROM store WHERE seal = 0)",
                [],
                |row| row.get(0),
            )
        })
        .await
        .unwrap();
    assert_eq!(in_clear, 0);
    drop(store);
    let error = SqliteStore::open(folder.options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::KeyStillNeeded { .. }));
    assert_eq!(*SqliteStore::open(sealed()).unwrap().digest_key(), digest_key);
}

#[tokio::test]
async fn a_key_that_nothing_needs_any_more_may_be_forgotten() {
    let folder = Folder::new(Some(1));
    let store = folder.store();
    fill(&store).await;
    drop(store);
    let store = folder.store_with_keys(2, 1);
    // Handed on before it was its turn to be sealed again.
    store.done(id(1)).await.unwrap();
    store.expectation_met("uid-a-one", &expected_canary().id).await.unwrap();
    resealed(&store).await;
    drop(store);
    SqliteStore::open(SqliteOptions { sealer: Some(Sealer::new(key(2), None)), ..folder.options() }).unwrap();
}

#[tokio::test]
async fn a_row_that_cannot_be_opened_is_parked_and_holds_nobody_up() {
    let folder = Folder::new(Some(1));
    let store = folder.store();
    for number in 1..=3 {
        store.put(delivery(number)).await.unwrap();
    }
    // The bytes of the first under the name of the second.
    store
        .change(|engine| {
            engine.connection.execute_batch(
                "UPDATE bodies SET (salt, body) = (SELECT salt, body FROM bodies ORDER BY delivery LIMIT 1)
                 WHERE delivery = (SELECT delivery FROM bodies ORDER BY delivery LIMIT 1 OFFSET 1)",
            )
        })
        .await
        .unwrap();
    let taken = store.take("uid-a-one", 10, at(1), Duration::from_secs(60)).await.unwrap();
    assert_eq!(taken.iter().map(|taken| taken.id).collect::<Vec<_>>(), [id(1), id(3)]);
    let row = store.show(id(2)).await.unwrap().unwrap();
    assert_eq!(row.state, RowState::Parked);
    assert!(row.failure.unwrap().what.contains("another key"));
    let error = store.body(id(2)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable { id: of, .. } if *of == id(2)), "{error}");
    assert!(tokio::time::timeout(Duration::ZERO, store.failed()).await.is_err(), "the store goes on");
    // Nor does it hold up the change of the key.
    drop(store);
    let store = folder.store_with_keys(2, 1);
    resealed(&store).await;
    assert_eq!(store.body(id(3)).await, Ok(Some(delivery(3).body)));
}
