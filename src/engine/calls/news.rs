//! What an answer says of its origin.

use crate::engine::ports::CallFailure;
use crate::rotation::answers::{Hold, Judgement};

/// How the origin took a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginNews {
    /// It answered as it should, or at least answered.
    Answers,
    /// It did not answer, or with a fault of its own.
    Fails,
    /// It asks for a pause.
    Pauses,
    /// Nothing was sent.
    Unknown,
}

pub(crate) fn news_of(failure: &CallFailure, judgement: &Judgement) -> OriginNews {
    match (&judgement.hold, failure) {
        // It was answered, and whoever was answered pauses: see `hold_provider`.
        (Hold::Asked(_), _) => OriginNews::Pauses,
        (_, CallFailure::Refused(_)) => OriginNews::Unknown,
        _ if judgement.counts_against_origin => OriginNews::Fails,
        _ => OriginNews::Answers,
    }
}
