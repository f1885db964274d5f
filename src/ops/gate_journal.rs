//! Log lines of the gate: what a person would want to read afterwards. Nothing of a delivery is in them
//! but our id.

use tracing::{debug, info, warn};

use crate::gate::observer::{Asked, Fact, Observer};
use crate::store::Owner;

/// Writes them.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateJournal;

impl Observer for GateJournal {
    fn saw(&self, owner: &Owner, fact: Fact<'_>) {
        let receiver = format_args!("{}/{}", owner.namespace, owner.name);
        match fact {
            Fact::Refused { reason, recognised: true, fingerprint, .. } => {
                warn!(%receiver, %reason, token = fingerprint, "a delivery of the platform was refused");
            }
            Fact::Refused { reason, .. } => debug!(%receiver, %reason, "a request was refused"),
            Fact::TestEvent => info!(%receiver, "a test event was answered"),
            Fact::Repeated(of) => debug!(%receiver, delivery = %of, "a repeated delivery was dropped"),
            Fact::AttemptFailed { id, why } => {
                debug!(%receiver, delivery = %id, "an attempt to hand it on failed: {why}");
            }
            Fact::Parked { id, why } => warn!(
                %receiver,
                delivery = %id,
                "parked: {why}; see it with `hookkeeper deliveries show {id}`, then replay or drop it"
            ),
            Fact::ParkedAll { count, why } => warn!(
                %receiver,
                "{count} parked: {why}; see `hookkeeper deliveries list --state parked`, and replay them with \
                 --adopt if another receiver is to have them"
            ),
            Fact::NotRecorded { id, why } => warn!(
                %receiver,
                delivery = %id,
                "the application has taken it, which is not on the disk yet: if the process ended now, it would be \
                 handed on once more ({why})"
            ),
            Fact::Asked(Asked::NoAnswer(why)) => {
                debug!(%receiver, "the platform was asked, and says nothing: {why}")
            }
            Fact::Asked(Asked::NotTaken(why)) => {
                debug!(%receiver, "the application has not taken what the platform said: {why}");
            }
            Fact::Paused { wait, why } => {
                warn!(%receiver, "nothing is handed on for {} s: {why}", wait.as_secs().max(1));
            }
            Fact::Asked(Asked::HandedOn) => debug!(%receiver, "what the platform answered was handed on"),
            Fact::GivenUp { count, why } => warn!(
                %receiver,
                count,
                "the platform is not asked any more for what the application waits for: {why}; see it with \
                 `hookkeeper deliveries expected`"
            ),
            Fact::Resumed => info!(%receiver, "the application takes deliveries again"),
            _ => {}
        }
    }
}
