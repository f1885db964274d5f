//! Opening a store: everything is refused before anything is changed, and gates that start together do it one
//! after the other.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::error::SqlState;
use zeroize::Zeroizing;

use super::connecting::Connector;
use super::error::{PostgresError, Trouble};
use super::schema::{self, OPENING_LOCK, Present};
use super::session::Session;
use super::settings::Settings;
use crate::store::content::{CLEAR, Sealing, Seals};
use crate::store::seal::{Field, KeyId, RowName, Sealer};

/// What the key for digests is bound to.
const DIGEST_KEY: RowName<'static> = RowName { uid: "", row: b"digest key" };

/// An open store.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) settings: Settings,
    pub(super) seals: Arc<Seals>,
    pub(super) digest_key: [u8; 32],
}

/// Opens the store of a database, or makes one.
pub(super) async fn open(connector: &Connector, sealer: Option<Sealer>) -> Result<Opened, PostgresError> {
    let (mut session, settings) = connector.first().await?;
    let database = connector.database.to_string();
    let opening = async {
        session.begin().await?;
        // Another gate may be making the tables. It is waited for longer than for rows.
        session.run("SET LOCAL lock_timeout TO '60s'; SET LOCAL statement_timeout TO '60s'").await?;
        let done = unlocked(&mut session, &database, sealer).await;
        session.settled(done).await
    };
    let (seals, digest_key) = opening.await.map_err(|trouble| PostgresError::of(&database, trouble))?;
    Ok(Opened { session, settings, seals: Arc::new(seals), digest_key })
}

async fn unlocked(
    session: &mut Session,
    database: &str,
    sealer: Option<Sealer>,
) -> Result<(Seals, [u8; 32]), Trouble> {
    let refused = |error: PostgresError| Trouble::Open(Box::new(error));
    let name = || database.to_owned();
    // Its answer may take longer than others.
    session.run(&format!("SELECT pg_advisory_xact_lock({OPENING_LOCK})")).await?;
    let version = match schema::present(session).await? {
        Present::Foreign => return Err(refused(PostgresError::Foreign { database: name() })),
        Present::Store(version) if version > schema::version() => {
            let known = schema::version();
            return Err(refused(PostgresError::Newer { database: name(), found: version, known }));
        }
        Present::Store(version) if version < 1 => {
            return Err(refused(PostgresError::Foreign { database: name() }));
        }
        Present::Store(version) => version,
        Present::Nothing => {
            session.run("CREATE SCHEMA hookkeeper").await?;
            0
        }
        Present::Empty => 0,
    };
    schema::migrate(session, version, schema::STEPS).await.map_err(|trouble| made(trouble, database))?;
    if version == 0 {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| no_random_bytes(database))?;
        session
            .execute(
                "INSERT INTO store (one, version, seal, digest_key) VALUES (1, $1, 0, $2)",
                &[&schema::version(), &key.as_slice()],
            )
            .await?;
    } else if version < schema::version() {
        session.execute("UPDATE store SET version = $1", &[&schema::version()]).await?;
    }
    if !schema::is_whole(&schema::shape(session).await?) {
        return Err(refused(PostgresError::Foreign { database: name() }));
    }
    let numbers = numbers(session).await?;
    for (seal, key) in &numbers {
        let is_given = sealer.as_ref().is_some_and(|sealer| sealer.has(*key));
        if !is_given && is_needed(session, *seal).await? {
            return Err(refused(PostgresError::KeyStillNeeded { database: name(), key: *key }));
        }
    }
    unlock(session, database, sealer, numbers).await
}

/// A schema that somebody else owns is a matter of permissions.
fn made(trouble: Trouble, database: &str) -> Trouble {
    match trouble {
        Trouble::Refused { code, problem } if code == SqlState::INVALID_SCHEMA_NAME => {
            let database = database.to_owned();
            Trouble::Open(Box::new(PostgresError::NoPermission { database, problem }))
        }
        other => other,
    }
}

fn no_random_bytes(database: &str) -> Trouble {
    Trouble::Open(Box::new(PostgresError::Failed {
        database: database.to_owned(),
        problem: "the operating system gives no random bytes".to_owned(),
    }))
}

/// The numbers of the keys that have sealed something.
pub(super) async fn numbers(session: &mut Session) -> Result<HashMap<i64, KeyId>, Trouble> {
    let mut numbers = HashMap::new();
    for row in session.query("SELECT seal, key_id FROM seals", &[]).await? {
        let id: &[u8] = row.try_get(1)?;
        if let Ok(id) = id.try_into() {
            numbers.insert(row.try_get(0)?, KeyId::from_bytes(id));
        }
    }
    Ok(numbers)
}

/// Whether any row was sealed with this key.
pub(super) async fn is_needed(session: &mut Session, seal: i64) -> Result<bool, Trouble> {
    let row = session
        .query_opt(
            "SELECT EXISTS (SELECT 1 FROM bodies WHERE seal = $1 AND seal + 0 >= 0) OR EXISTS (SELECT 1 FROM expectations WHERE seal = $1)
                 OR EXISTS (SELECT 1 FROM store WHERE seal = $1)",
            &[&seal],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(true))
}

/// Gives the sealing key a number, and reads the key for digests, which is sealed with it from now on.
async fn unlock(
    session: &mut Session,
    database: &str,
    sealer: Option<Sealer>,
    mut numbers: HashMap<i64, KeyId>,
) -> Result<(Seals, [u8; 32]), Trouble> {
    let mut current = CLEAR;
    if let Some(sealer) = &sealer {
        let id = sealer.sealing_key();
        current = match numbers.iter().find(|(_, known)| **known == id) {
            Some((number, _)) => *number,
            None => {
                let row = session
                    .query_opt(
                        "INSERT INTO seals (key_id) VALUES ($1) RETURNING seal",
                        &[&id.to_bytes().as_slice()],
                    )
                    .await?;
                row.map(|row| row.try_get(0)).transpose()?.unwrap_or(CLEAR)
            }
        };
        numbers.insert(current, id);
    }
    let seals = Seals::new(sealer, current, numbers);
    let unusable = |problem: &str| {
        Trouble::Open(Box::new(PostgresError::Failed {
            database: database.to_owned(),
            problem: format!("its key for digests cannot be read: {problem}"),
        }))
    };
    let row = session.query_opt("SELECT seal, salt, digest_key FROM store", &[]).await?;
    let row = row.ok_or_else(|| unusable("it is missing"))?;
    let sealing: Sealing = super::reading::sealing(&row, 0)?;
    let key = seals.read_one(Field::DigestKey, DIGEST_KEY, sealing, row.try_get(2)?);
    let key = Zeroizing::new(key.map_err(|error| unusable(&error.to_string()))?);
    let digest_key: [u8; 32] = key.as_slice().try_into().map_err(|_| unusable("it has another length"))?;
    if sealing.seal != current {
        let (sealing, bytes) = seals.write_one(Field::DigestKey, DIGEST_KEY, &digest_key)?;
        let salt = sealing.salt.as_ref().map(<[u8; 24]>::as_slice);
        session
            .execute(
                "UPDATE store SET seal = $1, salt = $2, digest_key = $3",
                &[&sealing.seal, &salt, &bytes],
            )
            .await?;
    }
    Ok((seals, digest_key))
}
