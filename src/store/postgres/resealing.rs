//! Rows that were sealed with a former key, or not at all, are sealed with the present one, a few at a time: by
//! one of the gates that share the database, and only while its key is the one that was brought in last.

use std::sync::Arc;
use std::time::Duration;

use super::error::Trouble;
use super::loading::delivery_id;
use super::opening::numbers;
use super::reading::{sealing, written};
use super::schema::RESEALING_LOCK;
use super::session::Session;
use super::sessions::Sessions;
use super::writing::rewrite;
use crate::store::content::Seals;
use crate::store::seal::{Field, RowName};

/// Rows that are sealed in one go.
const ROWS: i64 = 64;

/// Bytes of bodies after which it is enough for one go.
const BYTES: usize = 4 << 20;

/// Between two goes.
const PAUSE: Duration = Duration::from_millis(20);

/// How often it is looked for keys of other gates, and for rows that need a former key.
const EVERY: Duration = Duration::from_secs(5);

/// Deliveries that were sealed with a key.
pub(super) const DELIVERIES: &str =
    "SELECT b.id, b.seal, b.salt, b.content_type, b.content_encoding, b.event_time,
         b.body, r.uid
     FROM bodies b JOIN deliveries d ON d.id = b.id JOIN receivers r ON r.receiver = d.receiver
     WHERE b.seal = $1 AND b.seal + 0 >= 0 AND b.id > $2 ORDER BY b.id LIMIT $3 FOR UPDATE OF b, d SKIP LOCKED";

/// Expectations that were sealed with a key.
pub(super) const EXPECTATIONS: &str = "SELECT e.receiver, e.digest, e.seal, e.salt, e.id, r.uid
     FROM expectations e JOIN receivers r ON r.receiver = e.receiver
     WHERE e.seal = $1 AND (e.receiver, e.digest) > ($2, $3) ORDER BY e.receiver, e.digest LIMIT $4
     FOR UPDATE OF e SKIP LOCKED";

const WRITE_EXPECTATION: &str =
    "UPDATE expectations SET seal = $3, salt = $4, id = $5 WHERE receiver = $1 AND digest = $2";

/// Looks after the keys of a store.
pub(super) struct Resealing {
    pub(super) sessions: Arc<Sessions>,
    pub(super) seals: Arc<Seals>,
}

/// How far one round has come: a row that cannot be opened must not hold the others up.
#[derive(Default)]
struct Place {
    after_delivery: Vec<u8>,
    after_expectation: (i64, Vec<u8>),
    skipped: u64,
}

impl Resealing {
    /// Works until the store is dropped.
    pub(super) async fn run(self) {
        let mut done = Vec::new();
        loop {
            if let Err(trouble) = self.round(&mut done).await {
                tracing::debug!(error = %trouble.meaning(), "rows cannot be sealed with the present data key yet");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Learns the keys of other gates, and seals what is left. `done` has the keys of which it was said that
    /// nothing needs them.
    async fn round(&self, done: &mut Vec<i64>) -> Result<(), Trouble> {
        let mut lent = self.sessions.lend().await?;
        let known = numbers(&mut lent.session).await;
        let known = lent.after(known)?;
        self.seals.learn(known);
        for seal in self.seals.outdated() {
            let can_be_opened = self.seals.can_be_opened().contains(&seal);
            let left = if can_be_opened { self.reseal(seal).await? } else { self.left(seal).await? };
            if left == Left::Nothing && !done.contains(&seal) {
                if let Some(key) = self.seals.key_id(seal) {
                    tracing::info!(%key, "no row needs this data key any more");
                }
                done.push(seal);
            } else if left == Left::Some {
                done.retain(|known| *known != seal);
            }
        }
        Ok(())
    }

    /// Seals again what was sealed with this key.
    async fn reseal(&self, seal: i64) -> Result<Left, Trouble> {
        let mut place = Place::default();
        loop {
            let mut lent = self.sessions.lend().await?;
            let step = step(&mut lent.session, &self.seals, seal, &mut place).await;
            match lent.after(step)? {
                Step::SomebodyElse => return Ok(Left::Some),
                Step::Done(0) if place.skipped == 0 => return self.left(seal).await,
                Step::Done(0) => {
                    tracing::error!(skipped = place.skipped, "rows cannot be opened, and stay as they are");
                    return Ok(Left::Some);
                }
                Step::Done(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Rows that others held were passed over.
    async fn left(&self, seal: i64) -> Result<Left, Trouble> {
        let mut lent = self.sessions.lend().await?;
        let needed = super::opening::is_needed(&mut lent.session, seal).await;
        Ok(if lent.after(needed)? { Left::Some } else { Left::Nothing })
    }
}

/// What is left that needs a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Some,
}

enum Step {
    /// So many rows were looked at.
    Done(usize),
    /// Another gate does it, or has brought in another key since.
    SomebodyElse,
}

async fn step(session: &mut Session, seals: &Seals, seal: i64, place: &mut Place) -> Result<Step, Trouble> {
    session.begin().await?;
    let done = async {
        let lock = session
            .query_opt("SELECT pg_try_advisory_xact_lock($1), (SELECT seal FROM store)", &[&RESEALING_LOCK])
            .await?;
        let Some(lock) = lock else { return Ok(Step::SomebodyElse) };
        let (is_ours, current): (bool, i64) = (lock.try_get(0)?, lock.try_get(1)?);
        if !is_ours || current != seals.current() {
            return Ok(Step::SomebodyElse);
        }
        let count = deliveries(session, seals, seal, place).await?;
        if count > 0 {
            return Ok(Step::Done(count));
        }
        Ok(Step::Done(expectations(session, seals, seal, place).await?))
    };
    let done = done.await;
    session.settled(done).await
}

async fn deliveries(
    session: &mut Session,
    seals: &Seals,
    seal: i64,
    place: &mut Place,
) -> Result<usize, Trouble> {
    let rows = session.query(DELIVERIES, &[&seal, &place.after_delivery, &ROWS]).await?;
    let (mut count, mut bytes) = (0, 0);
    for row in &rows {
        if bytes >= BYTES {
            break;
        }
        let id = delivery_id(row, 0)?;
        place.after_delivery = id.to_bytes().to_vec();
        count += 1;
        let written = written(row, 1)?;
        let uid: String = row.try_get(7)?;
        bytes += written.body.len();
        match seals.read(&uid, id, written) {
            Ok(content) => rewrite(session, id, &seals.write(&uid, id, &content)?).await?,
            Err(error) => {
                tracing::error!(error = %error, "a delivery cannot be sealed with the present data key");
                place.skipped += 1;
            }
        }
    }
    Ok(count)
}

async fn expectations(
    session: &mut Session,
    seals: &Seals,
    seal: i64,
    place: &mut Place,
) -> Result<usize, Trouble> {
    let (receiver, digest) = &place.after_expectation;
    let rows = session.query(EXPECTATIONS, &[&seal, receiver, digest, &ROWS]).await?;
    for row in &rows {
        let (receiver, digest): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        place.after_expectation = (receiver, digest.clone());
        let uid: String = row.try_get(5)?;
        let name = RowName { uid: &uid, row: &digest };
        let Ok(id) = seals.read_one(Field::ExpectedId, name, sealing(row, 2)?, row.try_get(4)?) else {
            tracing::error!(receiver = uid, "an expectation cannot be sealed with the present data key");
            place.skipped += 1;
            continue;
        };
        let (sealing, id) = seals.write_one(Field::ExpectedId, name, &id)?;
        let salt = sealing.salt.as_ref().map(<[u8; 24]>::as_slice);
        session.execute(WRITE_EXPECTATION, &[&receiver, &digest, &sealing.seal, &salt, &id]).await?;
    }
    Ok(rows.len())
}
