//! What went wrong, in the words that the rules are written in.

use super::answer::MAX_VALUES;
use crate::engine::ports::{MintFailure, Refusal};
use crate::http::{Answer, Error, read_json};

/// The error codes of RFC 6749 4.1.2.1 and 5.2, and of RFC 8707 2. Only these are ever repeated from
/// a body.
const OAUTH_ERRORS: [&str; 10] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "invalid_target",
];
/// Those of them that speak of the credential, whatever the status: many servers answer 400.
/// `invalid_grant` is what a password grant, sent through an `http` source, fails with.
const REFUSED_CREDENTIAL: [&str; 4] =
    ["invalid_client", "invalid_grant", "unauthorized_client", "access_denied"];

/// What an answer that is no success means.
pub(super) fn of_status(answer: &Answer) -> MintFailure {
    let body = answer.body.as_ref().ok();
    let oauth_error = body.and_then(|body| oauth_error(body.as_bytes()));
    let credential_refused = matches!(answer.status, 401 | 403)
        || (answer.status < 500 && oauth_error.is_some_and(|code| REFUSED_CREDENTIAL.contains(&code)));
    MintFailure::Status {
        code: answer.status,
        retry_after: answer.retry_after,
        credential_refused,
        oauth_error: oauth_error.map(str::to_owned),
    }
}

/// Whether an answer is a refusal although its status says success: its `error` is one of the
/// RFC's. Some servers answer 200 to everything.
pub(super) fn is_refusal(answer: &Answer) -> bool {
    answer.body.as_ref().is_ok_and(|body| oauth_error(body.as_bytes()).is_some())
}

/// What it means that there is no answer, or none that can be read.
pub(super) fn of_error(error: Error) -> MintFailure {
    let what = error.to_string();
    match error {
        Error::InvalidRequest { .. } | Error::NeverADestination { .. } => {
            Refusal::UnusableValue { what }.into()
        }
        Error::DestinationNotAllowed { host, problem, allow } => {
            Refusal::DestinationNotAllowed { host, problem, allow }.into()
        }
        Error::HostNotAllowed { owner, host } => Refusal::HostNotAllowed { owner, host }.into(),
        Error::Resolve { .. }
        | Error::ResolveTimeout { .. }
        | Error::Connect { .. }
        | Error::ConnectTimeout { .. }
        | Error::Tls { .. }
        | Error::Proxy { .. } => MintFailure::NotSent { what },
        Error::Redirect { status, .. } => MintFailure::Redirect { code: status },
        Error::Timeout { .. } | Error::Lost { .. } | Error::InvalidAnswer { .. } => {
            MintFailure::Unanswered { what }
        }
        Error::TooLarge { .. } => {
            MintFailure::Unusable { what: format!("{what}; check that the URL is the token endpoint") }
        }
        Error::UnexpectedEncoding { .. } | Error::BrokenEncoding { .. } => {
            MintFailure::Unusable { what: format!("{what}; have the server send it uncompressed") }
        }
    }
}

/// The `error` of the body, where it is one of the RFC's own.
fn oauth_error(body: &[u8]) -> Option<&'static str> {
    let document = read_json(body, MAX_VALUES)?;
    let code = document.get("error")?.as_str()?;
    OAUTH_ERRORS.into_iter().find(|known| *known == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            date: None,
            retry_after: None,
            content_type: None,
            link: None,
            body: Ok(Body::new(body.as_bytes().to_vec())),
        }
    }

    #[test]
    fn an_error_of_the_rfc_is_a_refusal_whatever_the_status() {
        for (body, refusal) in [
            (r#"{"error":"invalid_client"}"#, true),
            (r#"{"error":"invalid_client","access_token":"abc"}"#, true),
            (r#"{"error":null,"access_token":"abc"}"#, false),
            (r#"{"error":"","access_token":"abc"}"#, false),
            (r#"{"error":{"code":"invalid_client"},"access_token":"abc"}"#, false),
            (r#"{"access_token":"invalid_client"}"#, false),
            ("invalid_client", false),
            ("", false),
        ] {
            assert_eq!(is_refusal(&answer(200, body)), refusal, "{body}");
        }
    }

    #[test]
    fn who_is_to_blame() {
        for (status, body, refused, code) in [
            (400, r#"{"error":"invalid_client"}"#, true, Some("invalid_client")),
            (400, r#"{"error":"unauthorized_client"}"#, true, Some("unauthorized_client")),
            (400, r#"{"error":"invalid_scope","error_description":"canary"}"#, false, Some("invalid_scope")),
            (401, r#"{"error":"canary"}"#, true, None),
            (403, "canary", true, None),
            (404, "", false, None),
            (429, "[]", false, None),
            (503, r#"{"error":"invalid_client"}"#, false, Some("invalid_client")),
            (200, r#"{"error":"invalid_client","error_description":"canary"}"#, true, Some("invalid_client")),
            (200, "\u{feff}{\"error\":\"invalid_scope\"}", false, Some("invalid_scope")),
            (200, r#"{"error":"temporarily_unavailable"}"#, false, Some("temporarily_unavailable")),
        ] {
            let failure = of_status(&answer(status, body));
            assert!(!format!("{failure} {failure:?}").contains("canary"));
            assert_eq!(
                failure,
                MintFailure::Status {
                    code: status,
                    retry_after: None,
                    credential_refused: refused,
                    oauth_error: code.map(str::to_owned),
                }
            );
        }
    }
}
