//! The tables, and how those of an older version become those of this version.
//!
//! They lie in a schema of their own, `hookkeeper`.
//!
//! | table | a row for each | holds |
//! |---|---|---|
//! | `store` | store | its version, and the key for digests |
//! | `seals` | master key that has sealed anything | a short number for it |
//! | `receivers` | receiver | its counts, in step with the rows; locked by who changes any of them |
//! | `deliveries` | delivery | everything but what came from outside, and who has it under way |
//! | `bodies` | delivery | what came from outside, sealed if a key is given; written once, however often it is tried |
//! | `keys` | event of a receiver | an HMAC of its key and its body; with an empty body: it was answered with success |
//! | `expectations` | id that an application waits for | and which gate asks for it |
//! | `tokens` | token that a receiver knows | an HMAC of it |
//! | `standstills` | time in which a receiver was suspended | |
//!
//! Times are microseconds since 1970. What is due is found by an index that holds only what waits, receiver
//! by receiver, so that the cost does not grow with the backlog.

use tokio_postgres::Row;

use super::error::Trouble;
use super::session::Session;

/// Held by whoever opens a store, so that two that start together make its tables one after the other: the
/// first eight bytes of "hookkeeper".
pub(super) const OPENING_LOCK: i64 = 0x686f_6f6b_6b65_6570;

/// Held by the one gate that seals rows again.
pub(super) const RESEALING_LOCK: i64 = OPENING_LOCK + 1;

/// The steps from nothing to the present version, in their order. A step that was in a release is never
/// changed, and only adds: gates of the version before go on with their work meanwhile.
pub(super) const STEPS: &[&str] = &[FIRST];

// A server that has counted a table while it was empty believes so until it counts it again, which takes a minute.
// Then all indexes are equally good to it, and it may go through the whole of one to look up a single row: it did, in
// each batch. So of each table one index alone can be used to look up a row, its primary key. The others have a
// condition that is always true, which only the statements repeat that they are for.
const FIRST: &str = "
CREATE TABLE store (
    one smallint PRIMARY KEY CHECK (one = 1),
    version integer NOT NULL,
    seal bigint NOT NULL,
    salt bytea,
    digest_key bytea NOT NULL
);
CREATE TABLE seals (
    seal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id bytea NOT NULL UNIQUE
);
CREATE TABLE receivers (
    receiver bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid text NOT NULL UNIQUE,
    namespace text NOT NULL,
    name text NOT NULL,
    pending bigint NOT NULL DEFAULT 0,
    pending_bytes bigint NOT NULL DEFAULT 0,
    parked bigint NOT NULL DEFAULT 0,
    parked_bytes bigint NOT NULL DEFAULT 0,
    keys bigint NOT NULL DEFAULT 0,
    expected bigint NOT NULL DEFAULT 0,
    expected_parked bigint NOT NULL DEFAULT 0,
    shortened_until bigint NOT NULL DEFAULT 0,
    seen_by bigint,
    seen_at bigint
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX receivers_of_namespace ON receivers (namespace);
CREATE TABLE deliveries (
    id bytea PRIMARY KEY,
    receiver bigint NOT NULL,
    state smallint NOT NULL,
    arrived bigint NOT NULL,
    due bigint NOT NULL,
    since bigint NOT NULL,
    size bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    refusals integer NOT NULL DEFAULT 0,
    failed_at bigint,
    failure text,
    event bytea NOT NULL,
    body_digest bytea NOT NULL,
    key_expires bigint NOT NULL,
    claim bigint,
    claimed_until bigint
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX deliveries_due ON deliveries (receiver, due, id) WHERE state = 0;
CREATE INDEX deliveries_of_receiver ON deliveries (receiver, state, id) WHERE receiver + 0 > 0;
CREATE TABLE bodies (
    id bytea PRIMARY KEY,
    seal bigint NOT NULL,
    salt bytea,
    content_type bytea,
    content_encoding bytea,
    event_time bytea,
    body bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
ALTER TABLE bodies ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX bodies_by_seal ON bodies (seal, id) WHERE seal + 0 >= 0;
CREATE TABLE keys (
    receiver bigint NOT NULL,
    event bytea NOT NULL,
    body bytea NOT NULL,
    delivery bytea NOT NULL,
    expires bigint NOT NULL,
    PRIMARY KEY (receiver, event, body)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX keys_by_expiry ON keys (receiver, expires) WHERE expires + 0 > 0;
CREATE TABLE expectations (
    receiver bigint NOT NULL,
    digest bytea NOT NULL,
    seal bigint NOT NULL,
    salt bytea,
    id bytea NOT NULL,
    since bigint NOT NULL,
    due bigint NOT NULL,
    handed_on bytea,
    parked boolean NOT NULL,
    holder bigint,
    held_until bigint,
    PRIMARY KEY (receiver, digest)
);
CREATE INDEX expectations_due ON expectations (receiver, parked, due, digest);
CREATE INDEX expectations_by_seal ON expectations (seal, receiver, digest);
CREATE TABLE tokens (
    uid text NOT NULL,
    digest bytea NOT NULL,
    fingerprint text NOT NULL,
    minted bigint NOT NULL,
    retired bigint,
    PRIMARY KEY (uid, digest)
);
CREATE TABLE standstills (
    uid text NOT NULL,
    began bigint NOT NULL,
    ended bigint,
    PRIMARY KEY (uid, began)
);
";

/// The present version.
pub(super) fn version() -> i32 {
    i32::try_from(STEPS.len()).unwrap_or(i32::MAX)
}

/// What there is in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    /// No schema.
    Nothing,
    /// A schema without a table.
    Empty,
    /// Something that is not ours.
    Foreign,
    /// A store of this version.
    Store(i32),
}

/// Looks at the schema; nothing is changed.
pub(super) async fn present(session: &mut Session) -> Result<Present, Trouble> {
    let tables = session
        .query(
            "SELECT c.relname::text, EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                 AND a.attname = 'digest_key')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'hookkeeper' AND c.relkind IN ('r', 'v', 'm', 'p', 'f')",
            &[],
        )
        .await?;
    if tables.is_empty() {
        let schemas =
            session.query("SELECT 1::int4 FROM pg_namespace WHERE nspname = 'hookkeeper'", &[]).await?;
        return Ok(if schemas.is_empty() { Present::Nothing } else { Present::Empty });
    }
    let is_ours = |row: &Row| Ok::<_, Trouble>(row.try_get::<_, String>(0)? == "store" && row.try_get(1)?);
    let mut found = false;
    for table in &tables {
        found |= is_ours(table)?;
    }
    if !found {
        return Ok(Present::Foreign);
    }
    let rows = session.query("SELECT version FROM hookkeeper.store", &[]).await?;
    match rows.as_slice() {
        [row] => Ok(Present::Store(row.try_get(0)?)),
        _ => Ok(Present::Foreign),
    }
}

/// Brings the tables from a version to the present one, inside of a transaction.
pub(super) async fn migrate(session: &Session, from: i32, steps: &[&str]) -> Result<(), Trouble> {
    let from = usize::try_from(from).unwrap_or(0);
    for step in steps.iter().skip(from) {
        session.run(step).await?;
    }
    Ok(())
}

/// The columns of all tables, as `table.column type`.
pub(super) async fn shape(session: &mut Session) -> Result<Vec<String>, Trouble> {
    let columns = session
        .query(
            "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE n.nspname = 'hookkeeper' AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY 1",
            &[],
        )
        .await?;
    columns.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Whether these columns are those of the present version; others may have come since.
pub(super) fn is_whole(shape: &[String]) -> bool {
    COLUMNS.iter().all(|column| shape.iter().any(|found| found == column))
}

/// What statements of the present version need.
const COLUMNS: &[&str] = &[
    "bodies.body bytea",
    "bodies.content_encoding bytea",
    "bodies.content_type bytea",
    "bodies.event_time bytea",
    "bodies.id bytea",
    "bodies.salt bytea",
    "bodies.seal bigint",
    "deliveries.arrived bigint",
    "deliveries.attempts integer",
    "deliveries.body_digest bytea",
    "deliveries.claim bigint",
    "deliveries.claimed_until bigint",
    "deliveries.due bigint",
    "deliveries.event bytea",
    "deliveries.failed_at bigint",
    "deliveries.failure text",
    "deliveries.id bytea",
    "deliveries.key_expires bigint",
    "deliveries.receiver bigint",
    "deliveries.refusals integer",
    "deliveries.since bigint",
    "deliveries.size bigint",
    "deliveries.state smallint",
    "expectations.digest bytea",
    "expectations.due bigint",
    "expectations.handed_on bytea",
    "expectations.held_until bigint",
    "expectations.holder bigint",
    "expectations.id bytea",
    "expectations.parked boolean",
    "expectations.receiver bigint",
    "expectations.salt bytea",
    "expectations.seal bigint",
    "expectations.since bigint",
    "keys.body bytea",
    "keys.delivery bytea",
    "keys.event bytea",
    "keys.expires bigint",
    "keys.receiver bigint",
    "receivers.expected bigint",
    "receivers.expected_parked bigint",
    "receivers.keys bigint",
    "receivers.name text",
    "receivers.namespace text",
    "receivers.parked bigint",
    "receivers.parked_bytes bigint",
    "receivers.pending bigint",
    "receivers.pending_bytes bigint",
    "receivers.receiver bigint",
    "receivers.seen_at bigint",
    "receivers.seen_by bigint",
    "receivers.shortened_until bigint",
    "receivers.uid text",
    "seals.key_id bytea",
    "seals.seal bigint",
    "standstills.began bigint",
    "standstills.ended bigint",
    "standstills.uid text",
    "store.digest_key bytea",
    "store.one smallint",
    "store.salt bytea",
    "store.seal bigint",
    "store.version integer",
    "tokens.digest bytea",
    "tokens.fingerprint text",
    "tokens.minted bigint",
    "tokens.retired bigint",
    "tokens.uid text",
];
