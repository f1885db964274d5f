//! What is refused when a store is opened, and that nothing is changed by that.

use super::*;
use crate::store::Put;
use crate::store::suite::{at, delivery, id};

/// Opens a folder that must be refused; its files stay as they were.
fn refused(folder: &Folder) -> OpenError {
    let before = folder.files();
    let error = SqliteStore::open(folder.options()).map(|_| ()).unwrap_err();
    assert_eq!(folder.files().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{error}");
    assert!(folder.files() == before, "a file was changed: {error}");
    let text = error.to_string();
    assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
    error
}

/// A store with one delivery in it, closed cleanly or left by a crash.
async fn used(is_clean: bool) -> Folder {
    let folder = Folder::new(None);
    let store = folder.store();
    assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
    if is_clean {
        store.close().await.unwrap();
    }
    drop(store);
    folder
}

fn file(folder: &Folder) -> std::path::PathBuf {
    folder.path().join("hookkeeper.db")
}

fn change_byte(path: &Path, at: usize, byte: u8) {
    let mut content = std::fs::read(path).unwrap();
    content[at] = byte;
    std::fs::write(path, content).unwrap();
}

#[test]
fn a_folder_that_is_missing_or_is_none() {
    let folder = Folder::new(None);
    let open = |path: &Path| SqliteStore::open(SqliteOptions::new(path.to_owned())).map(|_| ()).unwrap_err();
    let missing = folder.path().join("missing");
    assert!(matches!(open(&missing), OpenError::NoFolder { path } if path == missing));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(open(&file), OpenError::NotAFolder { path } if path == file));
    assert!(matches!(open(&file.join("below")), OpenError::NotAFolder { .. }));
}

#[test]
fn a_folder_without_permission_says_so_and_what_to_do() {
    for kind in [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::ReadOnlyFilesystem] {
        let error = OpenError::of_file_system(Path::new("/data"), kind.into());
        assert!(matches!(error, OpenError::NoPermission { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("/data") && text.contains("the user that hookkeeper runs as"), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_in_memory() {
    let memory = Path::new("/dev/shm");
    let is_tmpfs = rustix::fs::statfs(memory).is_ok_and(|system| system.f_type == 0x0102_1994);
    assert!(is_tmpfs, "this test needs a tmpfs at /dev/shm");
    let folder = tempfile::tempdir_in(memory).unwrap();
    let options = || SqliteOptions::new(folder.path().to_owned());
    let error = SqliteStore::open(options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::MayVanish { .. }));
    assert!(error.to_string().contains("--data-may-vanish"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    SqliteStore::open(SqliteOptions { may_vanish: true, ..options() }).unwrap();
}

#[tokio::test]
async fn a_second_process() {
    let folder = used(true).await;
    let first = folder.store();
    let error = SqliteStore::open(folder.options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    // Nor does a program that does not know of our lock come in between.
    let other = rusqlite::Connection::open(file(&folder)).unwrap();
    let other = other.query_row("SELECT count(*) FROM deliveries", [], |_| Ok(())).unwrap_err();
    assert_eq!(other.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    assert_eq!(first.put(delivery(2)).await, Ok(Put::Stored));
    first.close().await.unwrap();
    folder.store();
}

#[tokio::test]
async fn a_program_that_has_the_file_open() {
    let folder = used(true).await;
    let other = rusqlite::Connection::open(file(&folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = SqliteStore::open(folder.options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
}

#[test]
fn files_of_others() {
    for content in ["", "short", &"nothing of SQLite ".repeat(100)] {
        let folder = Folder::new(None);
        std::fs::write(file(&folder), content).unwrap();
        let error = refused(&folder);
        assert!(matches!(error, OpenError::Foreign { .. } | OpenError::Damaged { .. }), "{error}");
    }
    // A database of another program that crashed: its log is not ours to bring into it.
    let folder = Folder::new(None);
    let other = rusqlite::Connection::open(file(&folder)).unwrap();
    other.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    other.execute_batch("CREATE TABLE other (a); INSERT INTO other VALUES (1);").unwrap();
    let copy = Folder::new(None);
    for (name, content) in folder.files() {
        std::fs::write(copy.path().join(name), content).unwrap();
    }
    assert!(copy.files().len() >= 2);
    assert!(matches!(refused(&copy), OpenError::Foreign { .. }));
}

#[tokio::test]
async fn a_file_that_a_newer_version_wrote() {
    let folder = used(true).await;
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.pragma_update(None, "user_version", schema::version() + 1).unwrap();
    connection.close().unwrap();
    let error = refused(&folder);
    assert!(matches!(error, OpenError::Newer { found, known, .. } if found == known + 1), "{error}");

    // The same where the newer version crashed, and says so only in its log.
    let crashed = Folder::new(None);
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.pragma_update(None, "user_version", schema::version()).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    connection.pragma_update(None, "user_version", schema::version() + 1).unwrap();
    for (name, content) in folder.files().into_iter().filter(|(name, _)| !name.ends_with("-shm")) {
        std::fs::write(crashed.path().join(name), content).unwrap();
    }
    assert_eq!(crashed.files().len(), 2);
    assert!(matches!(refused(&crashed), OpenError::Newer { .. }));
}

#[tokio::test]
async fn a_damaged_file() {
    // Blank, or cut.
    let folder = used(true).await;
    let content = std::fs::read(file(&folder)).unwrap();
    for damaged in [vec![0; content.len()], content[..50].to_vec(), content[..content.len() - 4096].to_vec()]
    {
        std::fs::write(file(&folder), damaged).unwrap();
        let error = refused(&folder);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("restore"), "{error}");
    }
    // The head of any page but those that are a map of others.
    for page in (0..content.len() / 4096).filter(|page| *page != 1) {
        std::fs::write(file(&folder), &content).unwrap();
        let start = if page == 0 { 100 } else { page * 4096 };
        if content[start] == 0 {
            continue;
        }
        change_byte(&file(&folder), start, 0xee);
        let error = refused(&folder);
        assert!(matches!(error, OpenError::Damaged { .. }), "page {page}: {error}");
    }
    // Other tables than ours, under our mark.
    std::fs::write(file(&folder), &content).unwrap();
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    connection.execute_batch("DROP INDEX deliveries_due").unwrap();
    connection.close().unwrap();
    assert!(matches!(refused(&folder), OpenError::Damaged { .. }));
    std::fs::write(file(&folder), &content).unwrap();
    assert_eq!(folder.store().show(id(1)).await.unwrap().unwrap().arrived, at(0));
}

/// A log that holds every page of the file, as it is after much has been written.
fn whole_log(folder: &Folder) -> Vec<u8> {
    let connection = rusqlite::Connection::open(file(folder)).unwrap();
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).unwrap();
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    connection.execute_batch("VACUUM").unwrap();
    std::fs::read(folder.path().join("hookkeeper.db-wal")).unwrap()
}

#[tokio::test]
async fn what_a_crash_left_is_no_reason_to_refuse() {
    let all_pages = whole_log(&used(true).await);
    let folder = used(false).await;
    let files = folder.files();
    let log = &files["hookkeeper.db-wal"];
    assert!(!log.is_empty(), "the delivery is in the log alone");
    // A log that was torn in the middle of what was not acknowledged.
    for cut in [0, 1, 4000] {
        let torn = [log.as_slice(), &log[32..32 + cut]].concat();
        std::fs::write(folder.path().join("hookkeeper.db-wal"), torn).unwrap();
        std::fs::write(file(&folder), &files["hookkeeper.db"]).unwrap();
        let store = folder.store();
        assert!(store.show(id(1)).await.unwrap().is_some(), "cut {cut}");
        // Nothing was answered before the log was emptied into the file.
        assert_eq!(std::fs::metadata(folder.path().join("hookkeeper.db-wal")).unwrap().len(), 0);
    }
    // A power failure while the log was brought into the file: its first page is lost, or its end.
    let content = &files["hookkeeper.db"];
    for torn in [[vec![0; 4096], content[4096..].to_vec()].concat(), content[..8192].to_vec()] {
        let crashed = Folder::new(None);
        std::fs::write(file(&crashed), torn).unwrap();
        std::fs::write(crashed.path().join("hookkeeper.db-wal"), &all_pages).unwrap();
        let store = crashed.store();
        assert!(store.show(id(1)).await.unwrap().is_some());
    }
    // An empty file beside a log is refused: SQLite would delete the log, and all that is in it.
    let emptied = Folder::new(None);
    std::fs::write(file(&emptied), "").unwrap();
    std::fs::write(emptied.path().join("hookkeeper.db-wal"), &all_pages).unwrap();
    assert!(matches!(refused(&emptied), OpenError::Damaged { .. }));
    // So is a log without its file: a new file would take it for its own.
    std::fs::remove_file(file(&emptied)).unwrap();
    assert!(matches!(refused(&emptied), OpenError::Damaged { .. }));
    // A crash while the very first store was made.
    let folder = Folder::new(None);
    std::fs::write(folder.path().join("hookkeeper.db.new"), "half of it").unwrap();
    let store = folder.store();
    assert_eq!(store.put(delivery(1)).await, Ok(Put::Stored));
    assert!(!folder.path().join("hookkeeper.db.new").exists());
}

#[tokio::test]
async fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = used(false).await;
    let store = folder.store();
    store.put(delivery(2)).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}
