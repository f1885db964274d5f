//! What follows from an answer: the table of answers, as code.

use std::time::Duration;

use super::outcome::{CallFailure, MintFailure, Refusal};
use crate::api::{ClientAuthentication, Reason, TokenSourceSpec};

/// The operations of a provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Lists all subscriptions.
    List,
    /// Creates a subscription.
    Create,
    /// Replaces a subscription's document.
    Update,
    /// Deletes a subscription.
    Delete,
}

impl Operation {
    /// The operation's name as a metric label has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// How soon another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Soon: the fault may pass.
    Soon,
    /// Rarely: the same request would be refused again.
    Rarely,
}

/// What must pause besides the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    Nothing,
    /// Everything of the provider object whose call was answered so, for as long as was asked.
    Asked(Option<Duration>),
    /// Everything of the provider object whose credential was refused.
    Provider,
    /// Every mint of the source, for as long as was asked.
    Source(Option<Duration>),
}

/// What follows from a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Why it failed, in one word.
    pub reason: Reason,
    /// What happened and what to do next.
    pub message: String,
    /// Whether the provider says that there is no such subscription.
    pub missing: bool,
    /// Whether the request may have taken effect.
    pub outcome_unknown: bool,
    /// How soon to try again.
    pub pace: Pace,
    /// What must pause besides.
    pub hold: Hold,
    /// Whether it speaks of the whole origin when it happens to several objects in a row.
    pub counts_against_origin: bool,
}

impl Judgement {
    fn new(reason: Reason, message: String) -> Self {
        Self {
            reason,
            message,
            missing: false,
            outcome_unknown: false,
            pace: Pace::Soon,
            hold: Hold::Nothing,
            counts_against_origin: false,
        }
    }
}

/// Judges a failed call to a provider.
#[must_use]
pub fn judge_call(operation: Operation, failure: &CallFailure) -> Judgement {
    let said = |advice: &str| format!("{} ({}); {advice}", failure, operation.as_str());
    match failure {
        CallFailure::Status { missing: true, .. }
            if operation != Operation::List && operation != Operation::Create =>
        {
            Judgement {
                missing: true,
                ..Judgement::new(Reason::RemoteMissing, said("the remote subscription is no longer there"))
            }
        }
        CallFailure::Status { code, retry_after, .. } => judge_status(operation, *code, *retry_after, &said),
        CallFailure::Redirect { code } => Judgement {
            // RFC 9110, section 15.4: only 307 and 308 say that the request itself is to be sent
            // elsewhere; the others may well follow a create that took effect.
            outcome_unknown: !matches!(code, 307 | 308),
            pace: Pace::Rarely,
            ..Judgement::new(Reason::ProviderUnavailable, said("correct spec.baseUrl of the provider"))
        },
        CallFailure::NotSent { .. } => Judgement {
            counts_against_origin: true,
            ..Judgement::new(Reason::ProviderUnavailable, said(CALLED_AGAIN))
        },
        CallFailure::Unanswered { .. } => Judgement {
            outcome_unknown: true,
            counts_against_origin: true,
            ..Judgement::new(Reason::ProviderUnavailable, said(what_follows(operation)))
        },
        CallFailure::Unreadable { .. } => Judgement {
            outcome_unknown: true,
            ..Judgement::new(
                Reason::ProviderUnavailable,
                said("compare spec.operations with the provider's documentation"),
            )
        },
        CallFailure::Refused(refusal) => judge_refusal(refusal, Reason::ProviderUnavailable),
    }
}

/// Judges an update that found no such subscription although a complete listing shows it: whoever
/// may not write is often answered as if there were nothing, and so is a path that is not right.
#[must_use]
pub fn judge_listed_but_not_found(failure: &CallFailure) -> Judgement {
    let says = match failure {
        CallFailure::Status { code, .. } => code.to_string(),
        _ => "that it is missing".to_owned(),
    };
    Judgement {
        pace: Pace::Rarely,
        ..Judgement::new(
            Reason::ProviderRefusedDocument,
            format!(
                "listed, but the update says {says}: check the right to write and `operations.update.path`"
            ),
        )
    }
}

/// What to do about a provider that may be well again soon.
const CALLED_AGAIN: &str =
    "it is tried again; if that goes on, check spec.baseUrl of the provider and its server";

/// What is done about an outcome that is not known.
fn what_follows(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => {
            "whether it took effect is looked up before another one is sent; if that goes on, check spec.baseUrl of the provider and its server"
        }
        _ => CALLED_AGAIN,
    }
}

fn judge_status(
    operation: Operation,
    code: u16,
    retry_after: Option<Duration>,
    said: &dyn Fn(&str) -> String,
) -> Judgement {
    match code {
        // Some say with 403 that there were too many requests; Retry-After tells it from a refusal.
        429 | 403 if code == 429 || retry_after.is_some() => Judgement {
            hold: Hold::Asked(retry_after),
            ..Judgement::new(
                Reason::RateLimited,
                said("calls to this origin pause; lower spec.limits if it happens often"),
            )
        },
        401 => Judgement {
            hold: Hold::Provider,
            ..Judgement::new(
                Reason::ProviderRefusedCredentials,
                said("renew the credential in the provider's Secret"),
            )
        },
        403 if operation == Operation::List => Judgement {
            pace: Pace::Rarely,
            ..Judgement::new(
                Reason::ListForbidden,
                said("grant the credential the right to list, or go on without"),
            )
        },
        403 => Judgement::new(
            Reason::ProviderRefusedCredentials,
            said("check that the credential is valid and has the right to this operation"),
        ),
        503 if retry_after.is_some() => Judgement {
            outcome_unknown: true,
            hold: Hold::Asked(retry_after),
            ..Judgement::new(
                Reason::ProviderUnavailable,
                said("it asked to be left alone (Retry-After), and calls to this origin pause"),
            )
        },
        408 | 500..=599 => Judgement {
            outcome_unknown: true,
            counts_against_origin: code != 408,
            ..Judgement::new(Reason::ProviderUnavailable, said(what_follows(operation)))
        },
        _ if operation == Operation::List => Judgement {
            pace: Pace::Rarely,
            ..Judgement::new(
                Reason::ProviderUnavailable,
                said("compare spec.operations.list with the provider's documentation"),
            )
        },
        409 if operation == Operation::Create => Judgement {
            pace: Pace::Rarely,
            ..Judgement::new(
                Reason::ProviderRefusedDocument,
                said(
                    "the provider seems to have such a webhook already, which its listing does not show: give its id as spec.webhookId, or delete it there",
                ),
            )
        },
        _ => Judgement {
            pace: Pace::Rarely,
            ..Judgement::new(
                Reason::ProviderRefusedDocument,
                said("compare the subscription with the provider's documentation"),
            )
        },
    }
}

/// What to do about a source that may be well again soon.
const MINTED_AGAIN: &str = "it is tried again; if that goes on, check the token source's URL and its server";

/// Error codes with which a server speaks of itself (RFC 6749, section 4.1.2.1).
const OF_THE_SERVER: [&str; 2] = ["server_error", "temporarily_unavailable"];

/// What to do about a credential that was refused: the usual causes, and the other way to send it.
fn refused_credential(source: &TokenSourceSpec) -> &'static str {
    let authentication =
        source.oauth2.as_ref().map(|oauth2| oauth2.client_authentication.unwrap_or_default());
    match authentication {
        Some(ClientAuthentication::Basic) => {
            "check the client's id, its secret and whether it is enabled; if they are right, set \
             oauth2.clientAuthentication: Post, because some servers take no Basic, or do not undo its form-encoding of \
             characters such as + / = %"
        }
        Some(ClientAuthentication::Post) => {
            "check the client's id, its secret and whether it is enabled; if they are right, set \
             oauth2.clientAuthentication: Basic, because some servers take the secret in no other way"
        }
        None => "check the client's id, its secret and whether it is enabled",
    }
}

/// Judges a failed mint of this source.
#[must_use]
pub fn judge_mint(failure: &MintFailure, source: &TokenSourceSpec) -> Judgement {
    let said = |advice: &str| format!("{failure}; {advice}");
    match failure {
        MintFailure::Status { code: code @ (429 | 403 | 503), retry_after, .. }
            if *code == 429 || retry_after.is_some() =>
        {
            let reason = if *code == 503 { Reason::TokenSourceUnavailable } else { Reason::RateLimited };
            Judgement {
                hold: Hold::Source(*retry_after),
                ..Judgement::new(reason, said("mints of this source pause, as the answer asked"))
            }
        }
        MintFailure::Status { code: 408 | 500..=599, credential_refused: false, .. }
        | MintFailure::NotSent { .. } => Judgement::new(Reason::TokenSourceUnavailable, said(MINTED_AGAIN)),
        MintFailure::Unanswered { .. } => Judgement::new(Reason::TokenSourceUnavailable, said(MINTED_AGAIN)),
        MintFailure::Status { credential_refused: true, .. } => {
            Judgement::new(Reason::TokenSourceRefused, said(refused_credential(source)))
        }
        MintFailure::Status { oauth_error: Some(error), .. } if OF_THE_SERVER.contains(&error.as_str()) => {
            Judgement::new(Reason::TokenSourceUnavailable, said(MINTED_AGAIN))
        }
        MintFailure::Status { .. } => Judgement::new(
            Reason::TokenSourceRefused,
            said("compare the token source with the token server's documentation"),
        ),
        MintFailure::Redirect { .. } => {
            Judgement::new(Reason::TokenSourceUnavailable, said("correct the token source's URL"))
        }
        // What is wrong with an answer says by itself what to do: that depends on the kind of source.
        MintFailure::Unusable { .. } => Judgement::new(Reason::TokenSourceUnavailable, failure.to_string()),
        MintFailure::NotGranted { .. } => Judgement::new(Reason::TokenSourceRefused, failure.to_string()),
        MintFailure::Declined => Judgement::new(
            Reason::TokenSourceRefused,
            said(
                "it is not repeated here; look into the token server's log, and compare the token source with its documentation",
            ),
        ),
        MintFailure::NoLife { .. } => Judgement::new(
            Reason::TokenExpiredOnArrival,
            said(
                "if that means that it does not say how long its tokens live, set assumedLifetime on the token source; \
                 otherwise check what caches its answers",
            ),
        ),
        MintFailure::ExpiredOnArrival => Judgement::new(
            Reason::TokenExpiredOnArrival,
            said("check the token server's clock and what it answers as expiry"),
        ),
        MintFailure::Refused(refusal) => judge_refusal(refusal, Reason::TokenSourceUnavailable),
    }
}

fn judge_refusal(refusal: &Refusal, unavailable: Reason) -> Judgement {
    let reason = match refusal {
        Refusal::DestinationNotAllowed { .. } | Refusal::HostNotAllowed { .. } => {
            Reason::DestinationNotAllowed
        }
        Refusal::SecretNotFound { .. } => Reason::SecretNotFound,
        Refusal::SecretUnavailable { .. } | Refusal::AccountChanged | Refusal::ClaimEnded => unavailable,
        Refusal::UnusableValue { .. } | Refusal::Unsupported { .. } => Reason::InvalidSpec,
    };
    Judgement::new(reason, refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::bounds::Owner;

    fn status(code: u16) -> CallFailure {
        CallFailure::Status { code, retry_after: None, missing: matches!(code, 404 | 410) }
    }

    #[test]
    fn a_missing_subscription_is_missing_for_update_and_delete_only() {
        for code in [404, 410] {
            assert!(judge_call(Operation::Update, &status(code)).missing);
            assert!(judge_call(Operation::Delete, &status(code)).missing);
            assert!(!judge_call(Operation::Create, &status(code)).missing);
            assert_eq!(judge_call(Operation::Create, &status(code)).reason, Reason::ProviderRefusedDocument);
            assert_eq!(judge_call(Operation::List, &status(code)).reason, Reason::ProviderUnavailable);
        }
    }

    #[test]
    fn one_that_is_listed_and_not_found_is_refused_and_tried_rarely() {
        let judgement = judge_listed_but_not_found(&status(404));
        assert_eq!((judgement.reason, judgement.pace), (Reason::ProviderRefusedDocument, Pace::Rarely));
        assert!(!judgement.missing && !judgement.outcome_unknown);
        assert_eq!(
            judgement.message,
            "listed, but the update says 404: check the right to write and `operations.update.path`"
        );
    }

    #[test]
    fn credentials() {
        assert_eq!(judge_call(Operation::Update, &status(401)).hold, Hold::Provider);
        let forbidden = judge_call(Operation::Update, &status(403));
        assert_eq!((forbidden.reason, forbidden.hold), (Reason::ProviderRefusedCredentials, Hold::Nothing));
        assert_eq!(judge_call(Operation::List, &status(403)).reason, Reason::ListForbidden);
    }

    #[test]
    fn outcomes_that_are_unknown() {
        for code in [408, 500, 502, 504] {
            assert!(judge_call(Operation::Create, &status(code)).outcome_unknown, "{code}");
        }
        for code in [400, 401, 403, 404, 409, 422, 429] {
            assert!(!judge_call(Operation::Create, &status(code)).outcome_unknown, "{code}");
        }
        let lost = CallFailure::Unanswered { what: "timeout".into() };
        assert!(judge_call(Operation::Create, &lost).outcome_unknown);
        let unreadable = CallFailure::Unreadable { what: "no id".into() };
        assert!(judge_call(Operation::Create, &unreadable).outcome_unknown);
        for (code, unknown) in [(302, true), (303, true), (307, false), (308, false)] {
            assert_eq!(
                judge_call(Operation::Create, &CallFailure::Redirect { code }).outcome_unknown,
                unknown,
                "{code}"
            );
        }
        let not_sent = CallFailure::NotSent { what: "refused".into() };
        assert!(!judge_call(Operation::Create, &not_sent).outcome_unknown);
    }

    #[test]
    fn a_rate_limit_holds_what_it_speaks_of() {
        let wait = Some(Duration::from_secs(7));
        let call = CallFailure::Status { code: 429, retry_after: wait, missing: false };
        assert_eq!(judge_call(Operation::Update, &call).hold, Hold::Asked(wait));
        let mint = MintFailure::Status {
            code: 429,
            retry_after: None,
            credential_refused: false,
            oauth_error: None,
        };
        assert_eq!(judge_mint(&mint, &TokenSourceSpec::default()).hold, Hold::Source(None));
    }

    fn refused(code: u16, oauth_error: Option<&str>) -> MintFailure {
        let credential_refused = oauth_error != Some("server_error");
        MintFailure::Status {
            code,
            retry_after: None,
            credential_refused,
            oauth_error: oauth_error.map(str::to_owned),
        }
    }

    #[test]
    fn a_refused_client_hears_of_the_other_way_to_authenticate() {
        use crate::api::OAuth2TokenSource;
        let message = |client_authentication| {
            let oauth2 = OAuth2TokenSource { client_authentication, ..OAuth2TokenSource::default() };
            let source = TokenSourceSpec { oauth2: Some(oauth2), ..TokenSourceSpec::default() };
            judge_mint(&refused(401, Some("invalid_client")), &source).message
        };
        for by_basic in [None, Some(ClientAuthentication::Basic)] {
            assert!(message(by_basic).contains("set oauth2.clientAuthentication: Post"));
        }
        assert!(message(Some(ClientAuthentication::Post)).contains("set oauth2.clientAuthentication: Basic"));
        let of_http = judge_mint(&refused(401, None), &TokenSourceSpec::default()).message;
        assert!(!of_http.contains("clientAuthentication"), "{of_http}");
    }

    #[test]
    fn an_error_in_a_success_is_judged_as_the_same_error_in_a_refusal() {
        let source = TokenSourceSpec::default();
        for error in ["invalid_client", "invalid_scope", "server_error"] {
            let of = |code| judge_mint(&refused(code, Some(error)), &source);
            assert_eq!(of(200).reason, of(401).reason, "{error}");
            assert_eq!(of(200).message.replace("200", "401"), of(401).message);
        }
        assert_eq!(
            judge_mint(&refused(200, Some("server_error")), &source).reason,
            Reason::TokenSourceUnavailable
        );
    }

    #[test]
    fn a_retry_after_asks_for_a_pause_whatever_the_code_that_it_comes_with() {
        let wait = Some(Duration::from_secs(7));
        for (code, reason, unknown) in [
            (429, Reason::RateLimited, false),
            (403, Reason::RateLimited, false),
            (503, Reason::ProviderUnavailable, true),
        ] {
            for operation in [Operation::List, Operation::Create, Operation::Update, Operation::Delete] {
                let call = CallFailure::Status { code, retry_after: wait, missing: false };
                let judgement = judge_call(operation, &call);
                assert_eq!(judgement.hold, Hold::Asked(wait), "{code}");
                assert_eq!((judgement.reason, judgement.outcome_unknown), (reason, unknown), "{code}");
            }
            let mint = |credential_refused| MintFailure::Status {
                code,
                retry_after: wait,
                credential_refused,
                oauth_error: None,
            };
            assert_eq!(
                judge_mint(&mint(false), &TokenSourceSpec::default()).hold,
                Hold::Source(wait),
                "{code}"
            );
        }
        for code in [403, 503] {
            assert_eq!(judge_call(Operation::Update, &status(code)).hold, Hold::Nothing, "{code}");
        }
    }

    #[test]
    fn a_webhook_that_the_provider_has_and_does_not_list_is_told_how_to_take_over() {
        let message = |operation| judge_call(operation, &status(409)).message;
        assert!(message(Operation::Create).contains("give its id as spec.webhookId, or delete it there"));
        assert!(!message(Operation::Update).contains("webhookId"));
    }

    #[test]
    fn an_operation_is_named_as_its_metric_label() {
        let all = [Operation::List, Operation::Create, Operation::Update, Operation::Delete];
        assert_eq!(all.map(Operation::as_str), ["list", "create", "update", "delete"]);
    }

    #[test]
    fn what_says_that_the_provider_is_away_counts_against_its_origin() {
        let what = || "timeout".to_owned();
        for (failure, counts) in [
            (CallFailure::NotSent { what: what() }, true),
            (CallFailure::Unanswered { what: what() }, true),
            (status(500), true),
            (status(503), true),
            (status(408), false),
            (status(404), false),
            (status(429), false),
            (CallFailure::Redirect { code: 302 }, false),
            (CallFailure::Unreadable { what: what() }, false),
            (Refusal::ClaimEnded.into(), false),
        ] {
            let judgement = judge_call(Operation::Update, &failure);
            assert_eq!(judgement.counts_against_origin, counts, "{failure}");
        }
    }

    #[test]
    fn what_another_attempt_will_not_change_is_tried_rarely() {
        let update = |failure: &CallFailure| judge_call(Operation::Update, failure).pace;
        for code in [401, 403, 408, 429, 500, 503] {
            assert_eq!(update(&status(code)), Pace::Soon, "{code}");
        }
        assert_eq!(update(&CallFailure::Redirect { code: 307 }), Pace::Rarely);
        for code in [400, 403, 404] {
            assert_eq!(judge_call(Operation::List, &status(code)).pace, Pace::Rarely, "{code}");
        }
        assert_eq!(judge_call(Operation::Create, &status(409)).pace, Pace::Rarely);
    }

    #[test]
    fn a_message_names_the_answer_the_operation_and_what_to_do() {
        let unanswered = CallFailure::Unanswered { what: "timeout".into() };
        let told = |operation| judge_call(operation, &unanswered).message;
        assert!(told(Operation::Create).contains("looked up before another one is sent"));
        assert!(told(Operation::Update).contains("it is tried again"));
        assert!(told(Operation::Update).starts_with(&format!("{unanswered} (update); ")));
        for code in [400, 401, 403, 404, 429, 500] {
            let told = judge_call(Operation::List, &status(code)).message;
            let (said, advice) = told.split_once("; ").unwrap();
            assert_eq!(said, format!("the provider answered {code} (list)"));
            assert!(advice.len() > 20, "{told}");
        }
    }

    #[test]
    fn what_on_our_side_forbids_a_call_is_told_as_what_it_is() {
        let name = || "a".to_owned();
        for (refusal, reason) in [
            (
                Refusal::DestinationNotAllowed { host: name(), problem: name(), allow: name() },
                Reason::DestinationNotAllowed,
            ),
            (
                Refusal::HostNotAllowed { owner: Owner::Secret(name()), host: name() },
                Reason::DestinationNotAllowed,
            ),
            (Refusal::SecretNotFound { name: name(), key: name() }, Reason::SecretNotFound),
            (Refusal::SecretUnavailable { name: name(), what: name() }, Reason::ProviderUnavailable),
            (Refusal::AccountChanged, Reason::ProviderUnavailable),
            (Refusal::ClaimEnded, Reason::ProviderUnavailable),
            (Refusal::UnusableValue { what: name() }, Reason::InvalidSpec),
            (Refusal::Unsupported { what: name() }, Reason::InvalidSpec),
        ] {
            let judgement = judge_call(Operation::Create, &CallFailure::Refused(refusal.clone()));
            assert_eq!((judgement.reason, judgement.message), (reason, refusal.to_string()));
            assert!(!judgement.outcome_unknown, "nothing was sent: {refusal}");
        }
        let mint = MintFailure::Refused(Refusal::ClaimEnded);
        let judgement = judge_mint(&mint, &TokenSourceSpec::default());
        assert_eq!(judgement.reason, Reason::TokenSourceUnavailable);
    }

    #[test]
    fn a_failed_mint_says_whether_the_source_refuses_or_is_away() {
        let what = || "what".to_owned();
        let unexplained = |code| MintFailure::Status {
            code,
            retry_after: None,
            credential_refused: false,
            oauth_error: None,
        };
        let of_oauth = |error: &str| MintFailure::Status {
            code: 400,
            retry_after: None,
            credential_refused: false,
            oauth_error: Some(error.to_owned()),
        };
        for (failure, reason) in [
            (unexplained(400), Reason::TokenSourceRefused),
            (unexplained(404), Reason::TokenSourceRefused),
            (unexplained(408), Reason::TokenSourceUnavailable),
            (unexplained(500), Reason::TokenSourceUnavailable),
            (unexplained(503), Reason::TokenSourceUnavailable),
            (of_oauth("invalid_scope"), Reason::TokenSourceRefused),
            (of_oauth("temporarily_unavailable"), Reason::TokenSourceUnavailable),
            (refused(401, None), Reason::TokenSourceRefused),
            (refused(500, Some("invalid_client")), Reason::TokenSourceRefused),
            (MintFailure::NotSent { what: what() }, Reason::TokenSourceUnavailable),
            (MintFailure::Unanswered { what: what() }, Reason::TokenSourceUnavailable),
            (MintFailure::Redirect { code: 302 }, Reason::TokenSourceUnavailable),
            (MintFailure::Unusable { what: what() }, Reason::TokenSourceUnavailable),
            (MintFailure::NotGranted { what: what() }, Reason::TokenSourceRefused),
            (MintFailure::Declined, Reason::TokenSourceRefused),
            (MintFailure::NoLife { place: what() }, Reason::TokenExpiredOnArrival),
            (MintFailure::ExpiredOnArrival, Reason::TokenExpiredOnArrival),
        ] {
            let judgement = judge_mint(&failure, &TokenSourceSpec::default());
            assert_eq!(judgement.reason, reason, "{failure}");
            assert_eq!(judgement.hold, Hold::Nothing, "{failure}");
            assert!(judgement.message.starts_with(&failure.to_string()), "{}", judgement.message);
        }
    }

    #[test]
    fn a_source_that_asks_for_a_pause_gets_one_whatever_its_words() {
        for (code, reason) in
            [(429, Reason::RateLimited), (403, Reason::RateLimited), (503, Reason::TokenSourceUnavailable)]
        {
            let retry_after = Some(Duration::from_secs(7));
            let failure =
                MintFailure::Status { code, retry_after, credential_refused: true, oauth_error: None };
            let judgement = judge_mint(&failure, &TokenSourceSpec::default());
            assert_eq!((judgement.reason, judgement.hold), (reason, Hold::Source(retry_after)), "{code}");
        }
    }

    #[test]
    fn a_refused_document_is_tried_rarely() {
        for code in [400, 409, 422] {
            let judgement = judge_call(Operation::Update, &status(code));
            assert_eq!((judgement.reason, judgement.pace), (Reason::ProviderRefusedDocument, Pace::Rarely));
        }
    }
}
