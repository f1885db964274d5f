//! The platforms that have no API to manage subscriptions: what they send, and when.
//!
//! Each file follows the platform's own document and nothing else. It must not look at what the gate
//! takes such a platform to be, for it is the judge of that.

mod idunico;
mod pulpo;
mod qualp;
mod sends;

pub use idunico::{Authentication, IdUnico};
pub use pulpo::Pulpo;
pub use qualp::QualP;
pub use sends::ProcessPlan;

pub(super) use idunico::body as status_body;
pub(super) use sends::{Asked, Message, Sends};

use crate::secret::SecretText;

/// A platform that sends, with what its users type into it.
#[derive(Clone, Debug)]
pub enum Platform {
    /// Digital identity: the status of a process, `{id, status}`.
    IdUnico(IdUnico),
    /// A no-code platform: `{event, timestamp, payload}`.
    Pulpo(Pulpo),
    /// Routes and tolls: low credits, signed.
    QualP(QualP),
}

impl Platform {
    /// The platform's name in lower case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::IdUnico(_) => "idunico",
            Self::Pulpo(_) => "pulpo",
            Self::QualP(_) => "qualp",
        }
    }

    pub(super) fn into_sends(self) -> Box<dyn Sends> {
        match self {
            Self::IdUnico(settings) => Box::new(idunico::Sender::new(settings)),
            Self::Pulpo(settings) => Box::new(pulpo::Sender::new(settings)),
            Self::QualP(settings) => Box::new(qualp::Sender::new(settings)),
        }
    }

    /// What must never reach an application.
    pub(super) fn credentials(&self) -> Vec<SecretText> {
        match self {
            Self::IdUnico(settings) => settings.credentials(),
            Self::Pulpo(settings) => vec![settings.token.clone()],
            Self::QualP(settings) => vec![settings.secret.clone()],
        }
    }
}
