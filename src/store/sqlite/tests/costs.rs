//! What costs must not grow with: the backlog.

use super::*;
use crate::store::Put;
use crate::store::suite::{at, delivery, id};

#[test]
fn every_frequent_question_is_answered_by_an_index() {
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection, schema::STEPS).unwrap();
    for (sql, index) in [
        (reading::DUE, "USING COVERING INDEX deliveries_due (receiver=? AND due<?)"),
        (reading::NEXT_DUE, "USING COVERING INDEX deliveries_due (receiver=?)"),
        (reading::OLDEST, "USING INDEX deliveries_of_receiver (receiver=? AND state=?)"),
        (reading::PAGE, "USING COVERING INDEX deliveries_by_id (id>?)"),
        (
            reading::PAGE_OF_RECEIVER,
            "USING COVERING INDEX deliveries_of_receiver (receiver=? AND state=? AND id>?)",
        ),
        (keys::KNOWN, "USING PRIMARY KEY (receiver=? AND event=? AND body=?)"),
        (keys::FIRST_TO_EXPIRE, "USING COVERING INDEX keys_by_expiry (receiver=?)"),
        (keys::EXPIRED, "USING COVERING INDEX keys_by_expiry (receiver=? AND expires<?)"),
        (expectations::EXPECTATIONS_DUE, "USING INDEX expectations_due (receiver=? AND parked=? AND due<?)"),
        (expectations::EXPECTATIONS, "USING INDEX expectations_due (receiver=? AND parked=?)"),
        (
            expectations::ROWS_OF_EXPECTATIONS,
            "USING COVERING INDEX expectations_due (receiver=? AND parked=?)",
        ),
        (
            expectations::OLD_EXPECTATIONS,
            "USING COVERING INDEX expectations_due (receiver=? AND parked=? AND due<?)",
        ),
        (resealing::SEALED_DELIVERIES, "USING COVERING INDEX bodies_by_seal (seal=? AND rowid>?)"),
        (resealing::SEALED_EXPECTATIONS, "USING INDEX expectations_by_seal (seal=? AND rowid>?)"),
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> =
            statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
        assert!(plan.iter().any(|line| line.ends_with(index)), "{sql}: {plan:?}");
        assert!(
            !plan.iter().any(|line| line.starts_with("SCAN") || line.contains("TEMP")),
            "{sql}: {plan:?}"
        );
    }
}

#[tokio::test]
async fn the_oldest_keys_go_when_a_receiver_has_too_many() {
    let folder = Folder::new(None);
    let open = || SqliteStore::open(SqliteOptions { most_keys: 3, ..folder.options() }).unwrap();
    let store = open();
    let sent = |number| {
        let mut sent = NewDelivery { arrived: at(i64::from(number)), ..delivery(number) };
        sent.key.drop_repeated = true;
        sent
    };
    for number in 1..=3 {
        assert_eq!(store.put(sent(number)).await, Ok(Put::Stored));
    }
    assert_eq!(store.usage().await.unwrap()[0].window_shortened_until, None);
    for number in 4..=5 {
        assert_eq!(store.put(sent(number)).await, Ok(Put::Stored));
    }
    drop(store);
    let store = open();
    // The second one's key would have been known for an hour.
    assert_eq!(store.usage().await.unwrap()[0].window_shortened_until, Some(at(3602)));
    let again = |number, copy| NewDelivery { id: id(copy), ..sent(number) };
    for number in [3, 4, 5] {
        assert_eq!(store.put(again(number, 100)).await, Ok(Put::Repeated(id(number))));
    }
    assert_eq!(store.put(again(1, 101)).await, Ok(Put::Stored));
    // Another receiver's are its own.
    let other = NewDelivery { owner: crate::store::suite::owner("b", "one"), ..sent(9) };
    assert_eq!(store.put(other).await, Ok(Put::Stored));
    assert_eq!(store.usage().await.unwrap()[1].window_shortened_until, None);
}

#[tokio::test]
async fn a_receiver_that_has_nothing_any_more_is_forgotten() {
    let folder = Folder::new(None);
    let store = folder.store();
    store.put(delivery(1)).await.unwrap();
    store.done(id(1)).await.unwrap();
    assert_eq!(store.forget_expired(at(3599)).await, Ok(0));
    assert_eq!(store.usage().await.unwrap().len(), 1);
    assert_eq!(store.forget_expired(at(3600)).await, Ok(2));
    assert_eq!(store.usage().await.unwrap().len(), 0);
    drop(store);
    let store = folder.store();
    assert_eq!(store.usage().await.unwrap().len(), 0);
    assert_eq!(store.put(delivery(2)).await, Ok(Put::Stored));
}

#[tokio::test]
async fn what_was_done_is_given_back_to_the_file_system() {
    let folder = Folder::new(None);
    let store = folder.store();
    for number in 0..50 {
        store.put(NewDelivery { body: vec![number; 100_000].into(), ..delivery(number) }).await.unwrap();
    }
    let size = || {
        let names = ["hookkeeper.db", "hookkeeper.db-wal"];
        names
            .iter()
            .map(|name| std::fs::metadata(folder.path().join(name)).map_or(0, |file| file.len()))
            .sum::<u64>()
    };
    assert!(size() > 5_000_000);
    for number in 0..50 {
        store.done(id(number)).await.unwrap();
    }
    let return_pages = |engine: &mut Engine| {
        engine.return_pages(100_000);
        Ok(())
    };
    store.read(return_pages).await.unwrap();
    assert!(size() < 500_000, "{}", size());
}
