//! Opening a store: everything is refused before anything is changed.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use zeroize::Zeroizing;

use super::error::OpenError;
use super::place::Place;
use super::resealing::is_needed;
use super::schema;
use crate::store::columns::unsigned;
use crate::store::content::{CLEAR, Sealing, Seals};
use crate::store::ledger::{Account, Ledger};
use crate::store::seal::{Field, KeyId, RowName, Sealer};
use crate::store::{Extent, Owner};

/// How a store is opened.
#[derive(Debug)]
pub struct SqliteOptions {
    /// A folder of its own.
    pub folder: PathBuf,
    /// Allows file systems that do not keep what is written, such as tmpfs.
    pub may_vanish: bool,
    /// Seals bodies and what else came from outside; `None` leaves them in clear.
    pub sealer: Option<Sealer>,
    /// Bytes of the disk that are held back for what becomes of deliveries that are there already.
    pub reserve: u64,
    /// Most keys that one receiver has.
    pub most_keys: u64,
}

impl SqliteOptions {
    /// A store in this folder, in clear, with 64 MiB held back and up to a million keys for each receiver.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, may_vanish: false, sealer: None, reserve: 64 << 20, most_keys: 1_000_000 }
    }
}

/// The first version without the fault that a log which is reset at the wrong moment loses commits
/// (<https://www.sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Up to this size a file is checked as a whole when it is opened: 64 MiB in pages.
const CHECKED_PAGES: i64 = 16 * 1024;

/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// What the key for digests is bound to.
const DIGEST_KEY: RowName<'static> = RowName { uid: "", row: b"digest key" };

/// An open store.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) seals: Arc<Seals>,
    pub(super) digest_key: [u8; 32],
    pub(super) ledger: Ledger,
}

/// Opens the store of a folder, or makes one.
pub(super) fn open(options: SqliteOptions) -> Result<Opened, OpenError> {
    refuse_old(rusqlite::version_number(), rusqlite::version())?;
    let SqliteOptions { folder, may_vanish, sealer, .. } = options;
    let place = Place::take(&folder, may_vanish)?;
    if !place.file().exists() {
        // The log would be taken for that of the new file.
        if place.log().exists() {
            let problem = "it is missing, and its log is there".to_owned();
            return Err(OpenError::Damaged { path: place.file().to_owned(), problem });
        }
        create(&place)?;
    }
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(place.file(), &error);
    let log = place.log();
    let had_log = log.exists();
    let looked_at = look_at(&place, sealer.as_ref());
    if looked_at.is_err() && !had_log && fs::metadata(&log).is_ok_and(|file| file.len() == 0) {
        // Looking into a file already makes a log beside it.
        let _ = fs::remove_file(&log);
    }
    let (mut connection, numbers) = looked_at?;

    // From here on the file is ours, and is changed.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    schema::migrate(&mut connection, schema::STEPS).map_err(failed)?;
    let (seals, digest_key) = unlock(&mut connection, &place, sealer, numbers)?;
    // What a crash left in the log may be in no more than the memory of the kernel: after an fsync that
    // failed it can be read, and is on no disk. Nothing is answered before it is in the file.
    connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE).map_err(failed)?;
    let ledger = ledger(&connection).map_err(failed)?;
    Ok(Opened { connection, seals: Arc::new(seals), digest_key, ledger, place })
}

fn refuse_old(number: i32, version: &str) -> Result<(), OpenError> {
    if number < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: version.to_owned() });
    }
    Ok(())
}

/// Makes an empty store under another name, and gives it its name when it is complete and on the disk.
fn create(place: &Place) -> Result<(), OpenError> {
    let path = place.unfinished();
    let in_file = |error| OpenError::of_file_system(&path, error);
    for name in [path.clone(), path.with_extension("new-journal"), path.with_extension("new-wal")] {
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(in_file(error)),
            _ => {}
        }
    }
    private_file(&path).map_err(in_file)?;
    let result = fill(&path).map_err(|error| OpenError::of_sqlite(&path, &error));
    if result.is_err() {
        // What is left of a full disk must not make it fuller.
        let _ = fs::remove_file(&path);
    }
    result?;
    fs::File::open(&path).and_then(|file| file.sync_all()).map_err(in_file)?;
    fs::rename(&path, place.file()).map_err(in_file)?;
    place.sync().map_err(in_file)
}

/// SQLite gives the files beside it the same permissions.
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(|_| ())
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(|_| {
        rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
            Some("the operating system gives no random bytes".to_owned()),
        )
    })?;
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA synchronous = FULL;")?;
    schema::migrate(&mut connection, schema::STEPS)?;
    connection.execute(
        "INSERT INTO store (one, seal, salt, digest_key) VALUES (1, ?1, NULL, ?2)",
        (CLEAR, key.as_slice()),
    )?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

/// A connection that changes nothing by itself, not even when it is closed.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Otherwise a statement with a bound LIMIT is planned anew each time it is used.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.busy_timeout(std::time::Duration::ZERO)?;
    // Before the first access: the index of the log is then kept in our own memory.
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY;
         PRAGMA cell_size_check = ON;"
    ))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    Ok(connection)
}

/// Opens the file and refuses it, or gives the numbers of the keys that have sealed something.
fn look_at(place: &Place, sealer: Option<&Sealer>) -> Result<(Connection, HashMap<i64, KeyId>), OpenError> {
    let connection = connect(place.file()).map_err(|error| OpenError::of_sqlite(place.file(), &error))?;
    let numbers = check(&connection, place, sealer)?;
    Ok((connection, numbers))
}

/// Refuses a file that is damaged, newer, or sealed with a key that is not given. The numbers of the keys
/// that have sealed something.
fn check(
    connection: &Connection,
    place: &Place,
    sealer: Option<&Sealer>,
) -> Result<HashMap<i64, KeyId>, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(place.file(), &error);
    let damaged = |problem| OpenError::Damaged { path: place.file().to_owned(), problem };
    let application: i32 =
        connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
    let version = schema::version_in(connection).map_err(failed)?;
    if application != schema::APPLICATION_ID || version < 1 {
        return Err(OpenError::Foreign { path: place.file().to_owned() });
    }
    if version > schema::version() {
        return Err(OpenError::Newer {
            path: place.file().to_owned(),
            found: version,
            known: schema::version(),
        });
    }
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(failed)?;
    if pages <= CHECKED_PAGES {
        let found: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if found != "ok" {
            // It is told in one line.
            return Err(damaged(found.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    let is_ours = version < schema::version()
        || schema::shape(connection).map_err(failed)? == schema::expected_shape().map_err(failed)?;
    if !is_ours {
        return Err(damaged("its tables are not those of a store".to_owned()));
    }
    let numbers = numbers(connection).map_err(failed)?;
    for (seal, key) in &numbers {
        let is_given = sealer.is_some_and(|sealer| sealer.has(*key));
        if !is_given && is_needed(connection, *seal).map_err(failed)? {
            return Err(OpenError::KeyStillNeeded { path: place.folder().to_owned(), key: *key });
        }
    }
    Ok(numbers)
}

fn numbers(connection: &Connection) -> rusqlite::Result<HashMap<i64, KeyId>> {
    connection
        .prepare("SELECT seal, key_id FROM seals")?
        .query_map([], |row| Ok((row.get(0)?, KeyId::from_bytes(row.get(1)?))))?
        .collect()
}

/// Gives the sealing key a number, and reads the key for digests, which is sealed with it from now on.
fn unlock(
    connection: &mut Connection,
    place: &Place,
    sealer: Option<Sealer>,
    mut numbers: HashMap<i64, KeyId>,
) -> Result<(Seals, [u8; 32]), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(place.file(), &error);
    let transaction = connection.transaction().map_err(failed)?;
    let current = match &sealer {
        None => CLEAR,
        Some(sealer) => {
            let id = sealer.sealing_key();
            let known: Option<i64> = transaction
                .query_row("SELECT seal FROM seals WHERE key_id = ?1", [id.to_bytes()], |row| row.get(0))
                .optional()
                .map_err(failed)?;
            let number = match known {
                Some(number) => number,
                None => {
                    transaction
                        .execute("INSERT INTO seals (key_id) VALUES (?1)", [id.to_bytes()])
                        .map_err(failed)?;
                    transaction.last_insert_rowid()
                }
            };
            numbers.insert(number, id);
            number
        }
    };
    let seals = Seals::new(sealer, current, numbers);
    let (sealing, bytes) = transaction
        .query_row("SELECT seal, salt, digest_key FROM store", [], |row| {
            Ok((Sealing { seal: row.get(0)?, salt: row.get(1)? }, row.get::<_, Vec<u8>>(2)?))
        })
        .map_err(failed)?;
    let damaged = |problem: &str| OpenError::Damaged {
        path: place.file().to_owned(),
        problem: format!("its key for digests cannot be read: {problem}"),
    };
    let key = Zeroizing::new(
        seals
            .read_one(Field::DigestKey, DIGEST_KEY, sealing, bytes)
            .map_err(|error| damaged(&error.to_string()))?,
    );
    let digest_key: [u8; 32] = key.as_slice().try_into().map_err(|_| damaged("it has another length"))?;
    if sealing.seal != current {
        let (sealing, bytes) =
            seals.write_one(Field::DigestKey, DIGEST_KEY, &digest_key).map_err(|error| {
                OpenError::Failed { path: place.folder().to_owned(), problem: error.to_string() }
            })?;
        transaction
            .execute(
                "UPDATE store SET seal = ?1, salt = ?2, digest_key = ?3",
                (sealing.seal, sealing.salt, bytes),
            )
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok((seals, digest_key))
}

fn ledger(connection: &Connection) -> rusqlite::Result<Ledger> {
    let mut statement = connection.prepare(
        "SELECT receiver, namespace, name, uid, pending, pending_bytes, parked, parked_bytes, keys, expected,
             expected_parked, shortened_until FROM receivers",
    )?;
    let accounts = statement.query_map([], |row| {
        let text = |index| row.get::<_, String>(index).map(Arc::<str>::from);
        let count = |index| row.get(index).map(unsigned);
        let owner = Owner { namespace: text(1)?, name: text(2)?, uid: text(3)? };
        Ok(Account {
            pending: Extent { deliveries: count(4)?, bytes: count(5)? },
            parked: Extent { deliveries: count(6)?, bytes: count(7)? },
            keys: count(8)?,
            expected: count(9)?,
            expected_parked: count(10)?,
            shortened_until: row.get(11)?,
            ..Account::new(row.get(0)?, owner)
        })
    })?;
    Ok(Ledger::of(accounts.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_sqlite_that_can_lose_commits_is_refused() {
        assert!(refuse_old(3_051_003, "3.51.3").is_ok());
        assert!(refuse_old(3_054_001, "3.54.1").is_ok());
        for (number, version) in [(3_051_002, "3.51.2"), (3_050_004, "3.50.4")] {
            let error = refuse_old(number, version).unwrap_err().to_string();
            assert!(error.contains(version), "{error}");
        }
        assert!(refuse_old(rusqlite::version_number(), rusqlite::version()).is_ok());
    }
}
