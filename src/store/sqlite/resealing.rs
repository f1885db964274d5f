//! Rows that were sealed with a former key, or not at all, are sealed with the present one, a few at a time
//! between other work.

use super::engine::Engine;
use super::reading::written;
use super::unsealed::Resealing;
use crate::store::content::{CLEAR, Content, Sealing};
use crate::store::seal::{Field, RowName};
use crate::store::{DeliveryId, StoreError};

/// Rows, and bytes of bodies, that are sealed in one go.
const ROWS: i64 = 64;
const BYTES: usize = 4 << 20;

/// Deliveries that were sealed with a key.
pub(super) const SEALED_DELIVERIES: &str = "SELECT bodies.delivery, uid, id
     FROM bodies JOIN deliveries USING (delivery) JOIN receivers USING (receiver)
     WHERE bodies.seal = ?1 AND bodies.delivery > ?2 ORDER BY bodies.delivery LIMIT ?3";

/// Expectations that were sealed with a key.
pub(super) const SEALED_EXPECTATIONS: &str = "SELECT expectation, uid, digest, seal, salt, id
     FROM expectations JOIN receivers USING (receiver)
     WHERE seal = ?1 AND expectation > ?2 ORDER BY expectation LIMIT ?3";

/// What a row holds of a delivery.
const READ: &str =
    "SELECT seal, salt, content_type, content_encoding, event_time, body FROM bodies WHERE delivery = ?1";

struct Found {
    row: i64,
    uid: String,
    name: Vec<u8>,
    sealing: Sealing,
}

impl Resealing {
    /// Seals some rows again.
    pub(super) fn step(&mut self, engine: &mut Engine) -> Result<(), StoreError> {
        let Some(seal) = self.seals.last().copied() else { return Ok(()) };
        let before = (self.after_delivery, self.after_expectation, self.skipped);
        let mut handled = 0;
        let mut problem = None;
        let result = engine.transaction(|engine| {
            let result = self.deliveries(engine, seal).and_then(|count| {
                handled = count;
                if count == 0 { self.expectations(engine, seal) } else { Ok(0) }
            });
            match result {
                Ok(count) => handled += count,
                Err(Trouble::Store(error)) => problem = Some(error),
                Err(Trouble::Sqlite(error)) => return Err(error),
            }
            Ok(())
        });
        if let Err(error) = result {
            (self.after_delivery, self.after_expectation, self.skipped) = before;
            return Err(error);
        }
        if let Some(problem) = problem {
            return Err(problem);
        }
        if handled == 0 {
            let key = engine.seals.key_id(seal);
            match (key, self.skipped) {
                (Some(key), 0) => tracing::info!(%key, "no row needs this data key any more"),
                (None, 0) => {}
                (_, skipped) => tracing::error!(skipped, "rows cannot be opened, and stay as they are"),
            }
            self.seals.pop();
            (self.after_delivery, self.after_expectation, self.skipped) = (0, 0, 0);
        }
        Ok(())
    }

    fn deliveries(&mut self, engine: &Engine, seal: i64) -> Result<usize, Trouble> {
        let connection = &engine.connection;
        let mut select = connection.prepare_cached(SEALED_DELIVERIES)?;
        let found = select
            .query_map((seal, self.after_delivery, ROWS), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<Vec<(i64, String, Vec<u8>)>, _>>()?;
        let mut read = connection.prepare_cached(READ)?;
        let (mut count, mut bytes) = (0, 0);
        for (row, uid, name) in found {
            if bytes >= BYTES {
                break;
            }
            self.after_delivery = row;
            count += 1;
            let Ok(id) = <[u8; 16]>::try_from(name).map(DeliveryId::from_bytes) else { continue };
            let written = read.query_row([row], |columns| written(columns, 0))?;
            bytes += written.body.len();
            let content: Content = match engine.seals.read(&uid, id, written) {
                Ok(content) => content,
                Err(error) => {
                    tracing::error!(error = %error, "a delivery cannot be sealed with the new data key");
                    self.skipped += 1;
                    continue;
                }
            };
            engine.write_content(row, &engine.seals.write(&uid, id, &content)?)?;
        }
        Ok(count)
    }

    fn expectations(&mut self, engine: &Engine, seal: i64) -> Result<usize, Trouble> {
        let connection = &engine.connection;
        let mut select = connection.prepare_cached(SEALED_EXPECTATIONS)?;
        let found = select
            .query_map((seal, self.after_expectation, ROWS), |row| {
                let sealing = Sealing { seal: row.get(3)?, salt: row.get(4)? };
                let found = Found { row: row.get(0)?, uid: row.get(1)?, name: row.get(2)?, sealing };
                Ok((found, row.get::<_, Vec<u8>>(5)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let mut write = connection
            .prepare_cached("UPDATE expectations SET seal = ?2, salt = ?3, id = ?4 WHERE expectation = ?1")?;
        let count = found.len();
        for (Found { row, uid, name, sealing }, id) in found {
            self.after_expectation = row;
            let row_name = RowName { uid: &uid, row: &name };
            let Ok(id) = engine.seals.read_one(Field::ExpectedId, row_name, sealing, id) else {
                tracing::error!(receiver = uid, "an expectation cannot be sealed with the new data key");
                self.skipped += 1;
                continue;
            };
            let (sealing, id) = engine.seals.write_one(Field::ExpectedId, row_name, &id)?;
            write.execute((row, sealing.seal, sealing.salt, id))?;
        }
        Ok(count)
    }
}

enum Trouble {
    Store(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Whether any row was sealed with this key.
pub(super) fn is_needed(connection: &rusqlite::Connection, seal: i64) -> rusqlite::Result<bool> {
    debug_assert_ne!(seal, CLEAR);
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM bodies WHERE seal = ?1)
             OR EXISTS (SELECT 1 FROM expectations WHERE seal = ?1)
             OR EXISTS (SELECT 1 FROM store WHERE seal = ?1)",
        [seal],
        |row| row.get(0),
    )
}
