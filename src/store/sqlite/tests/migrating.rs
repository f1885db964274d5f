//! Files that an earlier version wrote.

use rusqlite::Connection;

use super::*;
use crate::store::suite::{at, delivery, id, owner};
use crate::store::{Put, RowState};

/// A folder with a store as each earlier version left it: one delivery waits, and one is parked.
fn of_version(version: usize, key: Option<u8>) -> Folder {
    let folder = Folder::new(key);
    let mut connection = Connection::open(folder.path().join("hookkeeper.db")).unwrap();
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").unwrap();
    schema::migrate(&mut connection, &schema::STEPS[..version]).unwrap();
    connection
        .execute("INSERT INTO store (one, seal, salt, digest_key) VALUES (1, 0, NULL, ?1)", [[7_u8; 32]])
        .unwrap();
    connection
        .execute(
            "INSERT INTO receivers VALUES (1, ?1, 'a', 'one', 1, 6, 1, 6, 0, 0, 0, 0)",
            [&*owner("a", "one").uid],
        )
        .unwrap();
    for (number, state) in [(1, 0), (2, 1)] {
        let sent = delivery(number);
        connection
            .execute(
                "INSERT INTO deliveries VALUES (?1, ?2, 1, ?3, ?4, ?4, ?4, 6, 0, 0, NULL, NULL, ?5, ?6, 0)",
                (number, sent.id.to_bytes(), state, micros(at(0)), sent.key.event, sent.key.body),
            )
            .unwrap();
        connection
            .execute(
                "INSERT INTO bodies (delivery, seal, content_type, body) VALUES (?1, 0, ?2, ?3)",
                (number, sent.content_type.unwrap().into_bytes(), &*sent.body),
            )
            .unwrap();
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    connection.close().unwrap();
    folder
}

#[tokio::test]
async fn what_an_earlier_version_kept_is_there_and_new_ones_come_beside_it() {
    for version in 1..=schema::STEPS.len() {
        for key in [None, Some(1)] {
            let folder = of_version(version, key);
            let store = folder.store();
            assert_eq!(*store.digest_key(), [7; 32]);
            let encoded = NewDelivery { content_encoding: Some("gzip".to_owned()), ..delivery(3) };
            assert_eq!(store.put(encoded).await, Ok(Put::Stored));
            assert_eq!(store.replay(id(2), at(0)).await, Ok(true));
            while !store.read(|engine| Ok(engine.resealing.is_done())).await.unwrap() {
                tokio::task::yield_now().await;
            }
            drop(store);
            // Once more, as the present version left it.
            let store = folder.store();
            let taken = store.take(&owner("a", "one").uid, 9, at(1), Duration::from_secs(60)).await.unwrap();
            let found: Vec<_> = taken
                .iter()
                .map(|taken| (taken.id, taken.body.clone(), taken.content_encoding.as_deref()))
                .collect();
            let expected = [(1, None), (2, None), (3, Some("gzip"))]
                .map(|(number, encoding)| (id(number), delivery(number).body, encoding));
            assert_eq!(found, expected, "from version {version}");
            assert!(taken.iter().all(|taken| taken.content_type == delivery(1).content_type));
            assert_eq!(store.show(id(1)).await.unwrap().unwrap().state, RowState::Pending);
            store.close().await.unwrap();
        }
    }
}
