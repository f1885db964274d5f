//! What is replaced as a whole, and the store as one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures::future::join_all;

use super::*;

pub(in crate::store) async fn tokens_are_replaced_as_a_whole(ground: &dyn Ground) {
    let store = ground.open().await;
    let token = |text: &str, minted, retired: Option<i64>| KnownToken {
        digest: digest(text),
        fingerprint: text.to_owned(),
        minted: at(minted),
        retired: retired.map(at),
    };
    assert_eq!(store.tokens(UID).await, Ok(vec![]));
    let tokens = vec![token("old", 1, Some(5)), token("new", 5, None)];
    store.set_tokens(UID, tokens.clone()).await.unwrap();
    store.set_tokens("other", vec![token("other", 9, None)]).await.unwrap();
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.tokens(UID).await, Ok(tokens));
    let newer = vec![token("new", 5, Some(9)), token("newest", 9, None)];
    store.set_tokens(UID, newer.clone()).await.unwrap();
    assert_eq!(store.tokens(UID).await, Ok(newer));
    store.set_tokens(UID, vec![]).await.unwrap();
    assert_eq!(store.tokens(UID).await, Ok(vec![]));
    assert_eq!(store.tokens("other").await.unwrap().len(), 1);
}

pub(in crate::store) async fn standstills_are_replaced_as_a_whole(ground: &dyn Ground) {
    let store = ground.open().await;
    let standstill = |began, ended: Option<i64>| Standstill { began: at(began), ended: ended.map(at) };
    assert_eq!(store.standstills(UID).await, Ok(vec![]));
    let first = Standstill { began: DateTime::UNIX_EPOCH, ended: Some(at(1)) };
    store.set_standstills(UID, vec![standstill(5, None), first]).await.unwrap();
    store.set_standstills("other", vec![standstill(7, None)]).await.unwrap();
    drop(store);
    let store = ground.open().await;
    assert_eq!(store.standstills(UID).await, Ok(vec![first, standstill(5, None)]));
    let newer = vec![standstill(5, Some(9)), standstill(20, None)];
    store.set_standstills(UID, newer.clone()).await.unwrap();
    assert_eq!(store.standstills(UID).await, Ok(newer));
    store.set_standstills(UID, vec![]).await.unwrap();
    assert_eq!(store.standstills(UID).await, Ok(vec![]));
    assert_eq!(store.standstills("other").await, Ok(vec![standstill(7, None)]));
}

pub(in crate::store) async fn the_key_for_digests_stays_the_same(ground: &dyn Ground) {
    let store = ground.open().await;
    let key = *store.digest_key();
    assert_ne!(key, [0; 32]);
    let id = store.short_id();
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    drop(store);
    let store = ground.open().await;
    assert_eq!((*store.digest_key(), store.short_id()), (key, id));
}

pub(in crate::store) async fn many_at_once_are_all_kept(ground: &dyn Ground) {
    let store = ground.open().await;
    let numbers: Vec<u8> = (0..=255).collect();
    let puts = numbers.iter().map(|number| {
        let namespace = ["a", "b", "c"][usize::from(*number) % 3];
        store.put(NewDelivery { owner: owner(namespace, "one"), ..delivery(*number) })
    });
    assert!(join_all(puts).await.iter().all(|answer| *answer == Ok(Put::Stored)));
    drop(store);
    let store = ground.open().await;
    let rows = store.list(&Selection::default(), None, 1000).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        numbers.iter().map(|n| id(*n)).collect::<Vec<_>>()
    );
    let dones = numbers.iter().map(|number| store.done(id(*number)));
    assert!(join_all(dones).await.iter().all(Result::is_ok));
    let usage = store.usage().await.unwrap();
    assert!(usage.iter().all(|usage| usage.pending == Extent::default()), "{usage:?}");
}

pub(in crate::store) async fn nothing_is_done_after_the_end(ground: &dyn Ground) {
    let store = ground.open().await;
    store.put(delivery(1)).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.put(delivery(2)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.take(UID, 1, at(1), LEASE).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.done(id(1)).await, Err(StoreError::Unavailable(_))));
    // It is closed and has not failed.
    let failed = tokio::time::timeout(Duration::ZERO, store.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
    drop(store);
    let store = ground.open().await;
    assert_eq!(taken_ids(&*store, at(1)).await, [id(1)]);
    let lease_end = store.next_due(UID).await.unwrap();
    assert_eq!(lease_end, Some(at(1) + TimeDelta::seconds(60)));
}
