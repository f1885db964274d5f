//! What became of a request, in the few words that a metric has room for.

use super::{Answer, Error};

/// How a request ended; the `class` label of the request metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Status 200 to 299.
    Success,
    /// Status 300 to 399, which is never followed.
    Redirect,
    /// Status 400 to 499.
    ClientError,
    /// Status 500 and above.
    ServerError,
    /// No connection or no answer in time.
    Timeout,
    /// Not sent: the destination is not allowed, or the request is no valid one.
    Refused,
    /// Not sent: the name could not be resolved, the connection or its encryption not be set up.
    Unreachable,
    /// The connection broke before the answer was complete.
    Lost,
    /// There was an answer, and it was unusable.
    Invalid,
}

impl Class {
    /// The class of a status code.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            500.. => Self::ServerError,
            _ => Self::Invalid,
        }
    }

    /// The class of what [`Client::send`](super::Client::send) returned. A success whose body could
    /// not be read counts as what hindered it, even where the body was not needed.
    #[must_use]
    pub fn of(result: &Result<Answer, Error>) -> Self {
        match result {
            Ok(Answer { status: ..400, body: Err(error), .. }) | Err(error) => error.class(),
            Ok(answer) => Self::of_status(answer.status),
        }
    }

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Invalid => "invalid",
        }
    }
}
