//! A database that ends, is full, takes no writes, or has no connection left: nothing is acknowledged that is not
//! there, and it is used again when it is back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::store::suite::{at, delivery, id};
use crate::store::{DeliveryId, NewDelivery, Put, Selection};

const LEASE: Duration = Duration::from_secs(60);

/// Delivery number so and so.
fn numbered(number: u32) -> NewDelivery {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number.to_be_bytes());
    let mut event = [0; 32];
    event[..4].copy_from_slice(&number.to_be_bytes());
    let sent = delivery(1);
    NewDelivery {
        id: DeliveryId::new(at(0), random),
        key: crate::store::EventKey { event, drop_repeated: true, ..sent.key },
        ..sent
    }
}

async fn until_stored(store: &PostgresStore, sent: NewDelivery) {
    until("it takes deliveries again", async || store.put(sent.clone()).await.is_ok()).await;
}

/// Puts deliveries, each of them until it is taken, and counts those that were answered with success.
async fn put_on(
    store: &PostgresStore,
    lane: u32,
    ends: &AtomicBool,
    so_far: &AtomicUsize,
) -> BTreeSet<DeliveryId> {
    let mut stored = BTreeSet::new();
    for number in 0..100_000 {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let sent = numbered(lane * 1_000_000 + number);
        match store.put(sent.clone()).await {
            Ok(_) => {
                stored.insert(sent.id);
                so_far.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_and_again_loses_nothing_that_was_acknowledged() {
    let server = Server::start(&[]);
    let base = Base::on(&server, None);
    let store = base.real_store().await;
    let (ends, stored_so_far) = (AtomicBool::new(false), AtomicUsize::new(0));
    let kills = async {
        for _ in 0..3 {
            let before = stored_so_far.load(Ordering::Relaxed);
            until("some more are stored", async || stored_so_far.load(Ordering::Relaxed) > before + 50).await;
            tokio::task::block_in_place(|| {
                server.kill();
                server.start_again();
            });
        }
        until_stored(&store, numbered(u32::MAX)).await;
        ends.store(true, Ordering::Relaxed);
    };
    let lanes = futures::future::join_all((0..4).map(|lane| put_on(&store, lane, &ends, &stored_so_far)));
    let (lanes, ()) = futures::future::join(lanes, kills).await;
    let stored: BTreeSet<_> = lanes.into_iter().flatten().collect();
    let mut found = BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.list(&Selection::default(), after, 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        found.extend(page.iter().map(|row| row.id));
    }
    let lost: Vec<_> = stored.difference(&found).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), stored.len());
    assert!(stored.len() > 150, "{}", stored.len());
}

#[tokio::test]
async fn connections_that_are_ended_are_made_anew() {
    let base = Base::new(None);
    let store = base.real_store().await;
    store.put(delivery(1)).await.unwrap();
    store.show(id(1)).await.unwrap();
    base.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    until_stored(&store, delivery(2)).await;
    until("it is shown", async || store.show(id(2)).await.is_ok_and(|row| row.is_some())).await;
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_answered_for_and_used_again() {
    let base = Base::new(None);
    let store = base.real_store().await;
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    // As a server that has become a standby.
    base.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only TO on", base.name));
    base.sql(end_all);
    for _ in 0..3 {
        let answer = store.put(delivery(1)).await;
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    let again = format!("ALTER DATABASE {} RESET default_transaction_read_only", base.name);
    base.server.sql("postgres", &again);
    until_stored(&store, delivery(1)).await;
    assert!(tokio::time::timeout(Duration::ZERO, store.failed()).await.is_err(), "it has not failed");
}

#[tokio::test]
async fn a_server_without_a_connection_left_is_waited_for() {
    let base = Base::new(None);
    let store = base.real_store().await;
    store.put(delivery(1)).await.unwrap();
    base.sql(&format!("ALTER DATABASE {} CONNECTION LIMIT 0", base.name));
    base.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    until("it is refused", async || {
        let answer = store.put(delivery(2)).await;
        matches!(&answer, Err(StoreError::Unavailable(problem)) if problem.contains("too many connections"))
    })
    .await;
    base.sql(&format!("ALTER DATABASE {} CONNECTION LIMIT -1", base.name));
    until_stored(&store, delivery(2)).await;
}

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let base = Base::new(None);
    let store = PostgresStore::open(PostgresOptions { connections: 3, ..base.options() }).await.unwrap();
    let (store, busy) = (&store, 0..40u8);
    let busy = busy.map(|number| async move {
        store.put(delivery(number)).await.unwrap();
        store.take("uid-a-one", 1, at(1), LEASE).await.unwrap();
        store.usage().await.unwrap();
    });
    futures::future::join_all(busy).await;
    let open = base.sql(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'hookkeeper'",
    );
    assert_eq!(open, "3");
    store.close().await.unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'hookkeeper'";
    until("all are closed", async || base.sql(open) == "0").await;
}

#[tokio::test]
async fn a_password_that_is_changed_is_read_for_the_next_connection() {
    let server = Server::start(&[]);
    let base = Base::on(&server, None);
    let store = base.real_store().await;
    store.put(delivery(1)).await.unwrap();
    base.sql(&format!("ALTER ROLE {ROLE} PASSWORD 'canary-of-the-next-one'"));
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    base.sql(end_all);
    let refused = async || {
        let answer = store.put(delivery(2)).await;
        matches!(&answer, Err(StoreError::Unavailable(problem))
            if problem.contains("password authentication failed") && !problem.contains("canary"))
    };
    until("the former one is refused", refused).await;
    std::fs::write(base.file("password"), "canary-of-the-next-one").unwrap();
    until_stored(&store, delivery(2)).await;
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_kept_and_it_goes_on_when_there_is_space() {
    let server = Server::with_small_disk("40m");
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", server.folder().join("small/space").display()),
    );
    let base = Base::on(&server, None);
    server.sql("postgres", &format!("ALTER DATABASE {} SET TABLESPACE small", base.name));
    let ballast = server.path("small").join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let store = base.real_store().await;
    let mut stored = Vec::new();
    let error = loop {
        let sent =
            NewDelivery { body: vec![7; 200_000].into(), ..numbered(u32::try_from(stored.len()).unwrap()) };
        match store.put(sent.clone()).await {
            Ok(put) => {
                assert_eq!(put, Put::Stored);
                stored.push(sent.id);
            }
            Err(error) => break error,
        }
        assert!(stored.len() < 1000);
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(stored.len() > 20, "{}", stored.len());
    let rows = store.list(&Selection::default(), None, 1000).await.unwrap();
    assert_eq!(rows.into_iter().map(|row| row.id).collect::<Vec<_>>(), stored);
    std::fs::remove_file(&ballast).unwrap();
    let sent = NewDelivery { body: vec![7; 200_000].into(), ..numbered(9_999) };
    until("it has space again", async || store.put(sent.clone()).await == Ok(Put::Stored)).await;
    for id in stored {
        store.done(id).await.unwrap();
    }
    assert_eq!(store.usage().await.unwrap()[0].pending.deliveries, 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_any_more_keeps_nobody_for_long() {
    let base = Base::new(None);
    let store = base.real_store().await;
    store.put(delivery(1)).await.unwrap();
    let backend: i32 = base
        .sql(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name = 'hookkeeper' AND query = 'COMMIT'",
        )
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let backend = rustix::process::Pid::from_raw(backend).unwrap();
    rustix::process::kill_process(backend, rustix::process::Signal::STOP).unwrap();
    let answer = store.put(delivery(2)).await;
    rustix::process::kill_process(backend, rustix::process::Signal::CONT).unwrap();
    assert!(is_unavailable(&answer), "{answer:?}");
    // The one that was not answered may be there or not; with its own id it is stored once.
    until_stored(&store, delivery(2)).await;
    assert_eq!(base.count("deliveries"), 2);
}
