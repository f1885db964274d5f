//! How a call ended, in the few words that a metric has room for.

use crate::engine::ports::{CallFailure, MintFailure};

/// How a call to a provider or a token source ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// With this status.
    Status(u16),
    /// It was certainly not sent: there was no connection, or none in time.
    NotSent,
    /// It may have been sent, and there was no complete answer: late, or cut off.
    Unanswered,
    /// The answer was of no use.
    Unusable,
    /// A rule of ours, of the API server or of the token server forbids it.
    Forbidden,
}

impl From<&CallFailure> for Ending {
    fn from(failure: &CallFailure) -> Self {
        match failure {
            CallFailure::Status { code, .. } | CallFailure::Redirect { code } => Self::Status(*code),
            CallFailure::NotSent { .. } => Self::NotSent,
            CallFailure::Unanswered { .. } => Self::Unanswered,
            CallFailure::Unreadable { .. } => Self::Unusable,
            CallFailure::Refused(_) => Self::Forbidden,
        }
    }
}

impl From<&MintFailure> for Ending {
    fn from(failure: &MintFailure) -> Self {
        match failure {
            MintFailure::Status { code, .. } | MintFailure::Redirect { code } => Self::Status(*code),
            MintFailure::NotSent { .. } => Self::NotSent,
            MintFailure::Unanswered { .. } => Self::Unanswered,
            MintFailure::Unusable { .. } | MintFailure::ExpiredOnArrival | MintFailure::NoLife { .. } => {
                Self::Unusable
            }
            MintFailure::Refused(_) | MintFailure::NotGranted { .. } | MintFailure::Declined => {
                Self::Forbidden
            }
        }
    }
}

/// The label `class` of all metrics of calls.
pub(crate) fn class_of<T, F>(result: &Result<T, F>) -> &'static str
where
    for<'a> Ending: From<&'a F>,
{
    match result.as_ref().map_err(Ending::from) {
        Ok(_) | Err(Ending::Status(200..=299)) => "2xx",
        Err(Ending::Status(300..=399)) => "3xx",
        Err(Ending::Status(400..=499)) => "4xx",
        Err(Ending::Status(500..)) => "5xx",
        Err(Ending::Status(..=199) | Ending::Unusable) => "invalid",
        Err(Ending::NotSent) => "unreachable",
        Err(Ending::Unanswered) => "timeout",
        Err(Ending::Forbidden) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ports::Refusal;

    /// The two failures differ in their words, and not in what a metric says of them.
    #[test]
    fn a_mint_and_a_call_that_end_alike_are_of_one_class() {
        let what = || "words".to_owned();
        for (code, class) in
            [(99, "invalid"), (204, "2xx"), (302, "3xx"), (404, "4xx"), (503, "5xx"), (600, "5xx")]
        {
            let call = CallFailure::Status { code, retry_after: None, missing: false };
            let mint =
                MintFailure::Status { code, retry_after: None, credential_refused: false, oauth_error: None };
            assert_eq!((class_of::<(), _>(&Err(call)), class_of::<(), _>(&Err(mint))), (class, class));
        }
        let refusal = || Refusal::ClaimEnded;
        for (call, mint, class) in [
            (CallFailure::Redirect { code: 301 }, MintFailure::Redirect { code: 301 }, "3xx"),
            (CallFailure::NotSent { what: what() }, MintFailure::NotSent { what: what() }, "unreachable"),
            (CallFailure::Unanswered { what: what() }, MintFailure::Unanswered { what: what() }, "timeout"),
            (CallFailure::Unreadable { what: what() }, MintFailure::Unusable { what: what() }, "invalid"),
            (CallFailure::Refused(refusal()), MintFailure::Refused(refusal()), "refused"),
        ] {
            assert_eq!((class_of::<(), _>(&Err(call)), class_of::<(), _>(&Err(mint))), (class, class));
        }
        assert_eq!(class_of::<_, CallFailure>(&Ok(())), "2xx");
    }
}
