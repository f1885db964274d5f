//! The store on disks that are full or fail: real file systems, which only the process of the test sees.
//!
//! Each test starts itself once more in a mount namespace of its own; what is mounted there is gone with the
//! process, however it ends.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use hookkeeper::store::{
    DeliveryId, EventKey, Extent, LastFailure, NewDelivery, Owner, Put, Room, Selection, SqliteOptions,
    SqliteStore, Store, StoreError,
};

const INSIDE: &str = "HOOKKEEPER_TEST_DISK";

/// How long something may take that does not depend on the clock.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder with the disk, if this is the process that has one; otherwise it is started and waited for.
fn disk(mount: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!("cd \"${INSIDE}\" && mkdir disk && {{ {mount}; }} && exec \"$@\"");
    let test = std::thread::current().name().unwrap().to_owned();
    let unshare: &[&str] = if rustix::process::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--mount", "--user", "--map-root-user"]
    };
    let output = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "no disk can be mounted here (`unshare --mount` must be permitted), or the test failed:\n{stdout}\n{stderr}"
    );
    None
}

fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

fn open(folder: &Path, reserve: u64) -> SqliteStore {
    let options = SqliteOptions::new(folder.to_owned());
    SqliteStore::open(SqliteOptions { may_vanish: true, reserve, ..options }).unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

const UID: &str = "uid";

/// Delivery number so and so, with a body that no file system can make smaller.
fn delivery(number: u32, size: usize) -> NewDelivery {
    const PLENTY: Extent = Extent { deliveries: 1 << 40, bytes: 1 << 40 };
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number.to_be_bytes());
    let mut body = vec![0; size];
    getrandom::fill(&mut body).unwrap();
    let mut event = [0; 32];
    event[..4].copy_from_slice(&number.to_be_bytes());
    NewDelivery {
        id: DeliveryId::new(now(), random),
        owner: Owner { namespace: "a".into(), name: "one".into(), uid: UID.into() },
        arrived: now(),
        body: body.into(),
        content_type: None,
        content_encoding: None,
        event_time: None,
        key: EventKey { event, body: event, window: Duration::from_secs(3600), drop_repeated: true },
        room: Room { pending: PLENTY, parked: PLENTY, namespace: PLENTY, leaves_some: false },
    }
}

/// Puts deliveries until one is not taken; those that were, and why the last one was not.
async fn fill(store: &SqliteStore, size: usize) -> (Vec<NewDelivery>, StoreError) {
    let mut stored = Vec::new();
    for number in 0..100_000 {
        let sent = delivery(number, size);
        match store.put(sent.clone()).await {
            Ok(answer) => assert_eq!(answer, Put::Stored),
            Err(error) => return (stored, error),
        }
        stored.push(sent);
    }
    panic!("the disk is larger than it was made");
}

async fn has_failed(store: &SqliteStore) -> bool {
    tokio::time::timeout(Duration::ZERO, store.failed()).await.is_ok()
}

/// These and no others are in the store, whole.
async fn assert_kept(store: &SqliteStore, expected: &[NewDelivery]) {
    let rows = store.list(&Selection::default(), None, 10_000).await.unwrap();
    let ids: Vec<_> = expected.iter().map(|sent| sent.id).collect();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
    for sent in expected {
        assert_eq!(store.body(sent.id).await, Ok(Some(sent.body.clone())), "{}", sent.id);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    const RESERVE: u64 = 4 << 20;
    let Some(folder) = disk("mount -t tmpfs -o size=16m,mode=700 small disk") else { return };
    let disk = folder.join("disk");
    let store = open(&disk, RESERVE);
    let (stored, error) = fill(&store, 50_000).await;
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(stored.len() > 50, "{}", stored.len());
    let left = rustix::fs::statvfs(&disk).unwrap();
    assert!(left.f_bavail * left.f_frsize >= RESERVE, "what is held back is still there");

    // What is there goes on with what is held back.
    let lease = Duration::from_secs(60);
    let taken = store.take(UID, 10, now(), lease).await.unwrap();
    assert_eq!(taken.len(), 10);
    let failure = LastFailure { what: "the application answered 500".to_owned(), when: now() };
    for taken in &taken[1..] {
        store.retry(taken.id, taken.claim, now(), true, failure.clone()).await.unwrap();
    }
    store.done(taken[0].id).await.unwrap();
    let mut left = stored[1..].to_vec();

    // Somebody else takes the rest of the disk.
    let ballast = folder.join("disk/ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let mut refused = None;
    while refused.is_none() {
        let next = left[0].id;
        match store.done(next).await {
            Ok(()) => drop(left.remove(0)),
            Err(error) => refused = Some(error),
        }
        // Whatever that gave back is taken as well.
        while file.write_all(&[1; 4096]).is_ok() {}
    }
    assert!(matches!(refused, Some(StoreError::Full(_))), "{refused:?}");
    let picked = store.take(UID, 10, now(), lease).await;
    assert!(matches!(picked, Err(StoreError::Full(_))), "nothing is picked");
    assert!(matches!(store.put(delivery(1 << 20, 10)).await, Err(StoreError::Full(_))));
    assert!(!has_failed(&store).await, "a full disk is no reason to end");

    // With space again it goes on by itself.
    drop(file);
    fs::remove_file(ballast).unwrap();
    let begun = Instant::now();
    while let Err(error) = store.take(UID, 1, now(), lease).await {
        assert!(matches!(error, StoreError::Full(_)) && begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(store);
    let store = open(&disk, RESERVE);
    assert_kept(&store, &left).await;
    for sent in left.drain(..) {
        store.done(sent.id).await.unwrap();
    }
    // What was done makes room for what is new.
    let begun = Instant::now();
    let new = delivery(1 << 20, 50_000);
    while let Err(error) = store.put(new.clone()).await {
        assert!(matches!(error, StoreError::Full(_)) && begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_kept(&store, &[new]).await;
    store.close().await.unwrap();
}

/// An ext4 that lies in a file on a disk that is too small for it: the file system has space, and what it
/// writes to its device fails.
#[tokio::test]
async fn an_fsync_that_fails_ends_the_store_and_nothing_that_was_answered_is_lost() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("LEFT OUT: a disk that fails needs root and loop devices");
        return;
    }
    const MOUNT: &str = "mkdir small && mount -t tmpfs -o size=20m small small && truncate -s 200M small/image && \
                         mkfs.ext4 -q -J size=4 -E lazy_itable_init=1,nodiscard small/image && \
                         mount -o loop small/image disk";
    let Some(folder) = disk(MOUNT) else { return };
    let disk = folder.join("disk");
    let store = open(&disk, 0);
    let (stored, error) = fill(&store, 100_000).await;
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
    assert!(stored.len() > 20, "{}", stored.len());
    assert_eq!(store.failed().await, error);
    // Nothing is believed any more.
    assert!(matches!(store.put(delivery(1 << 20, 10)).await, Err(StoreError::Broken(_))));
    assert!(matches!(store.done(stored[0].id).await, Err(StoreError::Broken(_))));
    assert!(matches!(store.take(UID, 1, now(), PATIENCE).await, Err(StoreError::Broken(_))));
    assert!(matches!(store.close().await, Err(StoreError::Broken(_))));
    drop(store);

    // The disk is exchanged for a larger one, and the machine started again.
    shell(&folder, "umount disk; mount -o remount,size=400m small; e2fsck -fy small/image || [ $? -le 2 ]");
    shell(&folder, "mount -o loop small/image disk");
    let store = open(&disk, 0);
    let unanswered = delivery(u32::try_from(stored.len()).unwrap(), 0).id;
    let rows = store.list(&Selection::default(), None, 10_000).await.unwrap();
    // The one that was not answered may be there or not.
    let rows: Vec<_> = rows.into_iter().map(|row| row.id).filter(|id| *id != unanswered).collect();
    assert_eq!(rows, stored.iter().map(|sent| sent.id).collect::<Vec<_>>());
    for sent in &stored {
        assert_eq!(store.body(sent.id).await, Ok(Some(sent.body.clone())), "{}", sent.id);
    }
    store.close().await.unwrap();
    shell(&folder, "umount disk");
}
