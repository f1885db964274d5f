//! The tables, and how a store of an older version becomes one of this version.
//!
//! | table | a row for each | holds |
//! |---|---|---|
//! | `store` | store | the key for digests |
//! | `seals` | master key that has sealed anything | a short number for it |
//! | `receivers` | receiver | its counts, in step with the rows |
//! | `deliveries` | delivery | everything but what came from outside |
//! | `bodies` | delivery | what came from outside, sealed if a key is given; written once, however often it is tried |
//! | `keys` | event of a receiver | an HMAC of its key and its body; with an empty body: it was answered with success |
//! | `expectations` | id that an application waits for | |
//! | `tokens` | token that a receiver knows | an HMAC of it |
//! | `standstills` | time in which a receiver was suspended | |
//!
//! Times are microseconds since 1970. What is due is found by an index that holds only what waits, receiver
//! by receiver, so that the cost does not grow with the backlog.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// `application_id` of our files: "hkpr".
pub(super) const APPLICATION_ID: i32 = 0x686b_7072;

/// The steps from an empty file to the present version, in their order. A step that was in a release is
/// never changed.
pub(super) const STEPS: &[&str] = &[FIRST, CONTENT_ENCODING, STANDSTILLS];

const FIRST: &str = "
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seal INTEGER NOT NULL,
    salt BLOB,
    digest_key BLOB NOT NULL
);
CREATE TABLE seals (
    seal INTEGER PRIMARY KEY,
    key_id BLOB NOT NULL UNIQUE
);
CREATE TABLE receivers (
    receiver INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    pending INTEGER NOT NULL,
    pending_bytes INTEGER NOT NULL,
    parked INTEGER NOT NULL,
    parked_bytes INTEGER NOT NULL,
    keys INTEGER NOT NULL,
    expected INTEGER NOT NULL,
    expected_parked INTEGER NOT NULL,
    shortened_until INTEGER NOT NULL
);
CREATE TABLE deliveries (
    delivery INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    receiver INTEGER NOT NULL,
    state INTEGER NOT NULL,
    arrived INTEGER NOT NULL,
    due INTEGER NOT NULL,
    since INTEGER NOT NULL,
    size INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    failed_at INTEGER,
    failure TEXT,
    event BLOB NOT NULL,
    body_digest BLOB NOT NULL,
    key_expires INTEGER NOT NULL
);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (id);
CREATE INDEX deliveries_due ON deliveries (receiver, due) WHERE state = 0;
CREATE INDEX deliveries_of_receiver ON deliveries (receiver, state, id);
CREATE TABLE bodies (
    delivery INTEGER PRIMARY KEY,
    seal INTEGER NOT NULL,
    salt BLOB,
    content_type BLOB,
    event_time BLOB,
    body BLOB NOT NULL
);
CREATE INDEX bodies_by_seal ON bodies (seal);
CREATE TABLE keys (
    receiver INTEGER NOT NULL,
    event BLOB NOT NULL,
    body BLOB NOT NULL,
    delivery BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (receiver, event, body)
) WITHOUT ROWID;
CREATE INDEX keys_by_expiry ON keys (receiver, expires);
CREATE TABLE expectations (
    expectation INTEGER PRIMARY KEY,
    receiver INTEGER NOT NULL,
    digest BLOB NOT NULL,
    seal INTEGER NOT NULL,
    salt BLOB,
    id BLOB NOT NULL,
    since INTEGER NOT NULL,
    due INTEGER NOT NULL,
    handed_on BLOB,
    parked INTEGER NOT NULL
);
CREATE UNIQUE INDEX expectations_by_digest ON expectations (receiver, digest);
CREATE INDEX expectations_due ON expectations (receiver, parked, due);
CREATE INDEX expectations_by_seal ON expectations (seal);
CREATE TABLE tokens (
    uid TEXT NOT NULL,
    digest BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    minted INTEGER NOT NULL,
    retired INTEGER,
    PRIMARY KEY (uid, digest)
) WITHOUT ROWID;
";

const CONTENT_ENCODING: &str = "ALTER TABLE bodies ADD COLUMN content_encoding BLOB;";

const STANDSTILLS: &str = "
CREATE TABLE standstills (
    uid TEXT NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER,
    PRIMARY KEY (uid, began)
) WITHOUT ROWID;
";

/// The present version.
pub(super) fn version() -> i32 {
    version_of(STEPS)
}

fn version_of(steps: &[&str]) -> i32 {
    i32::try_from(steps.len()).unwrap_or(i32::MAX)
}

/// The version of a file.
pub(super) fn version_in(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings a file from its version to the present one; all in one transaction, so that a crash leaves the
/// old version or the new one.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let present = usize::try_from(version_in(&transaction)?).unwrap_or(0);
    if present >= steps.len() {
        return Ok(());
    }
    for step in &steps[present..] {
        transaction.execute_batch(step)?;
    }
    stamp(&transaction, version_of(steps))?;
    transaction.commit()
}

fn stamp(transaction: &Transaction<'_>, version: i32) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)
}

/// The tables and indexes of a file, as their statements.
pub(super) fn shape(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The tables and indexes that the present version has.
pub(super) fn expected_shape() -> rusqlite::Result<Vec<String>> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, STEPS)?;
    shape(&connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut statement =
            connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    const NEXT: &str = "ALTER TABLE tokens ADD COLUMN note TEXT NOT NULL DEFAULT 'none';";

    /// A file of each version, with a row from that version's time.
    fn of_version(version: usize) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &[STEPS, &[NEXT]].concat()[..version]).unwrap();
        if version > 0 {
            connection
                .execute(
                    "INSERT INTO tokens (uid, digest, fingerprint, minted) VALUES ('u', x'00', 'f', 7)",
                    [],
                )
                .unwrap();
            connection.execute("INSERT INTO bodies (seal, body) VALUES (0, x'01')", []).unwrap();
        }
        connection
    }

    #[test]
    fn a_file_of_each_older_version_gets_the_present_shape_and_keeps_its_rows() {
        let steps = [STEPS, &[NEXT]].concat();
        let expected = shape(&of_version(steps.len())).unwrap();
        for version in 0..steps.len() {
            let mut connection = of_version(version);
            migrate(&mut connection, &steps).unwrap();
            assert_eq!(shape(&connection).unwrap(), expected, "from version {version}");
            assert_eq!(version_in(&connection).unwrap(), version_of(&steps));
            let minted: Vec<i64> = connection
                .prepare("SELECT minted FROM tokens WHERE note = 'none'")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(minted, if version == 0 { vec![] } else { vec![7] });
            let plain: i64 = connection
                .query_row("SELECT count(*) FROM bodies WHERE content_encoding IS NULL", [], |row| row.get(0))
                .unwrap();
            assert_eq!(plain, i64::from(version > 0));
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let mut connection = of_version(1);
        let before = shape(&connection).unwrap();
        let steps = [STEPS, &[NEXT, "CREATE TABLE more (a); CREATE TABLE more (a);"]].concat();
        assert!(migrate(&mut connection, &steps).is_err());
        assert_eq!(shape(&connection).unwrap(), before);
        assert_eq!(version_in(&connection).unwrap(), 1);
        assert!(connection.is_autocommit());
    }

    #[test]
    fn a_file_of_this_version_or_a_newer_one_is_not_touched() {
        for version in [STEPS.len(), STEPS.len() + 1] {
            let mut connection = of_version(version);
            let before = shape(&connection).unwrap();
            migrate(&mut connection, STEPS).unwrap();
            assert_eq!(shape(&connection).unwrap(), before);
            assert_eq!(usize::try_from(version_in(&connection).unwrap()), Ok(version));
            assert_eq!(tables(&connection).len(), 9);
        }
    }
}
