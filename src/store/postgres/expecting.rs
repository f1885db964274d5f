//! What applications wait for, inside of the transaction of a batch: its receivers are locked.

use super::error::Trouble;
use super::jobs::{Expecting, Job, Outcome};
use super::session::Session;
use crate::store::columns::micros;
use crate::store::ledger::Ledger;
use crate::store::{Digest, Expectation};

const STATE: &str = "SELECT parked FROM expectations WHERE receiver = $1 AND digest = $2 FOR UPDATE";

const DELETE_OLDEST_PARKED: &str = "DELETE FROM expectations WHERE receiver = $1 AND digest = (
     SELECT digest FROM expectations WHERE receiver = $1 AND parked AND digest <> $2 ORDER BY due LIMIT 1)";

const EXPECT: &str = "INSERT INTO expectations AS e (receiver, digest, seal, salt, id, since, due, handed_on, parked)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (receiver, digest) DO UPDATE SET seal = excluded.seal, salt = excluded.salt, id = excluded.id,
         since = excluded.since, due = excluded.due,
         handed_on = CASE WHEN e.parked THEN excluded.handed_on ELSE e.handed_on END,
         parked = excluded.parked, holder = NULL, held_until = NULL";

const CHANGE: &str =
    "UPDATE expectations SET due = $3, handed_on = $4, parked = $5, holder = NULL, held_until = NULL
     WHERE receiver = $1 AND digest = $2 AND since = $6";

const DELETE: &str = "DELETE FROM expectations WHERE receiver = $1 AND digest = $2";

/// Does one job that is about an expectation; `None` for another one.
pub(super) async fn decide(
    session: &mut Session,
    ledger: &mut Ledger,
    job: &Job,
) -> Result<Option<Outcome>, Trouble> {
    Ok(match job {
        Job::Expect(expecting) => Some(Outcome::Was(expect(session, ledger, expecting).await?)),
        Job::ExpectationChanged { expectation, digest } => {
            Some(Outcome::Was(changed(session, ledger, expectation, digest).await?))
        }
        Job::ExpectationMet { uid, digest } => Some(Outcome::Was(met(session, ledger, uid, digest).await?)),
        _ => None,
    })
}

async fn expect(session: &mut Session, ledger: &mut Ledger, expecting: &Expecting) -> Result<bool, Trouble> {
    let Expecting { expectation, digest, sealing, id, most } = expecting;
    let Some(account) = ledger.by_uid(&expectation.owner.uid).cloned() else { return Ok(false) };
    let receiver = account.receiver;
    let known = state(session, receiver, digest).await?;
    if known != Some(false) && account.expected >= *most as u64 {
        return Ok(false);
    }
    // Those that nobody is asked for any more are bounded as well: the oldest one goes.
    if account.expected_parked >= *most as u64 {
        let deleted = session.execute(DELETE_OLDEST_PARKED, &[&receiver, &digest.as_slice()]).await?;
        ledger.change(receiver, |account| account.expected_parked -= deleted.min(account.expected_parked));
    }
    count(ledger, receiver, known, Some(expectation.parked));
    let handed_on = expectation.handed_on.as_ref().map(Digest::as_slice);
    let salt = sealing.salt.as_ref().map(<[u8; 24]>::as_slice);
    session
        .execute(
            EXPECT,
            &[
                &receiver,
                &digest.as_slice(),
                &sealing.seal,
                &salt,
                &id.as_slice(),
                &micros(expectation.since),
                &micros(expectation.due),
                &handed_on,
                &expectation.parked,
            ],
        )
        .await?;
    Ok(true)
}

async fn changed(
    session: &mut Session,
    ledger: &mut Ledger,
    expectation: &Expectation,
    digest: &Digest,
) -> Result<bool, Trouble> {
    let receiver = ledger.by_uid(&expectation.owner.uid).map(|account| account.receiver);
    let Some(receiver) = receiver else { return Ok(false) };
    let Some(was_parked) = state(session, receiver, digest).await? else { return Ok(false) };
    let handed_on = expectation.handed_on.as_ref().map(Digest::as_slice);
    let changed = session
        .execute(
            CHANGE,
            &[
                &receiver,
                &digest.as_slice(),
                &micros(expectation.due),
                &handed_on,
                &expectation.parked,
                &micros(expectation.since),
            ],
        )
        .await?;
    if changed > 0 {
        count(ledger, receiver, Some(was_parked), Some(expectation.parked));
    }
    Ok(changed > 0)
}

async fn met(
    session: &mut Session,
    ledger: &mut Ledger,
    uid: &str,
    digest: &Digest,
) -> Result<bool, Trouble> {
    let Some(receiver) = ledger.by_uid(uid).map(|account| account.receiver) else { return Ok(false) };
    let Some(was_parked) = state(session, receiver, digest).await? else { return Ok(false) };
    session.execute(DELETE, &[&receiver, &digest.as_slice()]).await?;
    count(ledger, receiver, Some(was_parked), None);
    Ok(true)
}

/// Whether it is parked; `None` when there is no such expectation.
async fn state(session: &mut Session, receiver: i64, digest: &Digest) -> Result<Option<bool>, Trouble> {
    let row = session.query_opt(STATE, &[&receiver, &digest.as_slice()]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

fn count(ledger: &mut Ledger, receiver: i64, before: Option<bool>, after: Option<bool>) {
    ledger.change(receiver, |account| {
        match before {
            Some(true) => account.expected_parked = account.expected_parked.saturating_sub(1),
            Some(false) => account.expected = account.expected.saturating_sub(1),
            None => {}
        }
        match after {
            Some(true) => account.expected_parked += 1,
            Some(false) => account.expected += 1,
            None => {}
        }
    });
}
