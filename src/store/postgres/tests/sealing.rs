//! What lies in the database when a key is given, and how a key is changed while gates work.

use super::*;
use crate::store::suite::{at, delivery, id, owner};
use crate::store::{Expectation, LastFailure, NewDelivery, Put, RowState};

const CANARY: &str = "canary-of-a-body-4711";
const UID: &str = "uid-a-one";
const LEASE: Duration = Duration::from_secs(60);

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

async fn fill(store: &PostgresStore) {
    assert_eq!(store.put(canaries()).await, Ok(Put::Stored));
    assert_eq!(store.expect(expected_canary(), 10).await, Ok(true));
    let taken = store.take(UID, 1, at(1), LEASE).await.unwrap();
    let what = "the application answered 500".to_owned();
    store.retry(id(1), taken[0].claim, at(9), true, LastFailure { what, when: at(2) }).await.unwrap();
}

async fn is_whole(store: &PostgresStore) {
    assert_eq!(store.body(id(1)).await, Ok(Some(canaries().body)));
    assert_eq!(store.expectation(UID, &expected_canary().id).await.unwrap(), Some(expected_canary()));
}

/// All rows of all tables as text.
fn everything(base: &Base<'_>) -> String {
    ["store", "seals", "receivers", "deliveries", "bodies", "keys", "expectations", "tokens"]
        .map(|table| base.sql(&format!("SELECT t::text FROM hookkeeper.{table} t")))
        .join("\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn opened_with(base: &Base<'_>, first: u8, second: Option<u8>) -> Result<PostgresStore, PostgresError> {
    let sealer = Some(Sealer::new(key(first), second.map(key)));
    PostgresStore::open(PostgresOptions { sealer, ..base.options() }).await
}

/// Waits until nothing needs the key of this number.
async fn until_nothing_needs(base: &Base<'_>, seal: i64) {
    let needs = format!(
        "SELECT (SELECT count(*) FROM hookkeeper.bodies WHERE seal = {seal})
             + (SELECT count(*) FROM hookkeeper.expectations WHERE seal = {seal})
             + (SELECT count(*) FROM hookkeeper.store WHERE seal = {seal})"
    );
    until("rows sealed again", async || base.sql(&needs) == "0").await;
}

#[tokio::test]
async fn nothing_that_came_from_outside_is_in_the_tables() {
    for key in [Some(1), None] {
        let base = Base::new(key);
        let store = base.real_store().await;
        assert_eq!(store.is_sealing(), key.is_some());
        fill(&store).await;
        let found = everything(&base);
        let has = |text: &[u8]| {
            found.contains(&hex(text)) || found.contains(std::str::from_utf8(text).unwrap_or("\0"))
        };
        let is_there = (has(CANARY.as_bytes()), has(store.digest_key()));
        // The search finds what is there.
        assert_eq!(is_there, (key.is_none(), key.is_none()), "{found}");
    }
}

#[tokio::test]
async fn a_key_is_changed_without_losing_a_row() {
    let base = Base::new(Some(1));
    let store = base.real_store().await;
    let digest_key = *store.digest_key();
    fill(&store).await;
    drop(store);
    let without = PostgresOptions { sealer: None, ..base.options() };
    let before = everything(&base);
    assert!(matches!(base.refused(without).await, PostgresError::KeyStillNeeded { .. }));
    for keys in [(2, None), (2, Some(3))] {
        let error = opened_with(&base, keys.0, keys.1).await.unwrap_err();
        assert!(matches!(error, PostgresError::KeyStillNeeded { .. }), "{error}");
    }
    assert_eq!(everything(&base), before);
    let store = opened_with(&base, 2, Some(1)).await.unwrap();
    is_whole(&store).await;
    until_nothing_needs(&base, 1).await;
    is_whole(&store).await;
    drop(store);
    let store = opened_with(&base, 2, None).await.unwrap();
    is_whole(&store).await;
    assert_eq!(*store.digest_key(), digest_key);
}

#[tokio::test]
async fn a_store_in_clear_is_sealed_when_a_key_is_given() {
    let base = Base::new(None);
    fill(&base.real_store().await).await;
    let store = opened_with(&base, 1, None).await.unwrap();
    until_nothing_needs(&base, 0).await;
    is_whole(&store).await;
    assert!(matches!(base.refused(base.options()).await, PostgresError::KeyStillNeeded { .. }));
}

#[tokio::test]
async fn gates_of_two_configurations_change_a_key_together() {
    let base = Base::new(Some(1));
    // Each gate is first given the new key as its second one.
    let old = opened_with(&base, 1, Some(2)).await.unwrap();
    old.put(delivery(1)).await.unwrap();
    let new = opened_with(&base, 2, Some(1)).await.unwrap();
    until_nothing_needs(&base, 1).await;
    // The one of the former configuration still seals with the former key, and the other one after it.
    old.put(delivery(2)).await.unwrap();
    new.put(delivery(3)).await.unwrap();
    until_nothing_needs(&base, 1).await;
    // It comes to know the new key's number, and takes what was sealed with it.
    let mut taken = Vec::new();
    until("all are taken", async || {
        taken.extend(old.take(UID, 9, at(1), LEASE).await.unwrap().into_iter().map(|taken| taken.id));
        taken.len() == 3
    })
    .await;
}

#[tokio::test]
async fn what_a_gate_has_no_key_for_is_left_to_the_others_and_not_parked() {
    let base = Base::new(Some(1));
    let old = base.real_store().await;
    old.put(delivery(1)).await.unwrap();
    let new = opened_with(&base, 2, Some(1)).await.unwrap();
    until_nothing_needs(&base, 1).await;
    assert_eq!(old.take(UID, 9, at(1), LEASE).await.unwrap().len(), 0);
    assert_eq!(old.next_due(UID).await, Ok(None));
    assert_eq!(old.show(id(1)).await.unwrap().unwrap().state, RowState::Pending);
    assert_eq!(new.take(UID, 9, at(1), LEASE).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_opened_is_parked_and_holds_nobody_up() {
    let base = Base::new(Some(1));
    let store = base.real_store().await;
    for number in 1..=3 {
        store.put(delivery(number)).await.unwrap();
    }
    // The bytes of the first under the name of the second.
    base.sql(
        "UPDATE hookkeeper.bodies SET (salt, body) = (SELECT salt, body FROM hookkeeper.bodies ORDER BY id LIMIT 1)
         WHERE id = (SELECT id FROM hookkeeper.bodies ORDER BY id LIMIT 1 OFFSET 1)",
    );
    let taken = store.take(UID, 10, at(1), LEASE).await.unwrap();
    assert_eq!(taken.iter().map(|taken| taken.id).collect::<Vec<_>>(), [id(1), id(3)]);
    let row = store.show(id(2)).await.unwrap().unwrap();
    assert_eq!(row.state, RowState::Parked);
    assert!(row.failure.unwrap().what.contains("another key"));
    let error = store.body(id(2)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unreadable { id: of, .. } if *of == id(2)), "{error}");
    // Nor does it hold up the change of the key.
    drop(store);
    let store = opened_with(&base, 2, Some(1)).await.unwrap();
    until("the others are sealed again", async || {
        base.sql("SELECT count(*) FROM hookkeeper.bodies WHERE seal = 1") == "1"
    })
    .await;
    assert_eq!(store.body(id(3)).await, Ok(Some(delivery(3).body)));
}
