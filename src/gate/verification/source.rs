//! A token in a header, from a `TokenSource`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::HeaderMap;

use super::token::presented;
use super::token_book::{Judgement, TokenBook};
use super::{Credential, Head, Matched, Prefix};
use crate::gate::refusal::Refusal;
use crate::http::HeaderName;

/// The tokens of a receiver's source, and how long they are accepted.
#[derive(Clone, Debug)]
pub struct SourceTokens {
    /// What is known of them at this moment.
    pub book: Arc<TokenBook>,
    /// How long one is accepted after it stopped being the current one.
    pub overlap: Duration,
    /// Those that were minted before are not accepted.
    pub revoked_before: Option<DateTime<Utc>>,
}

pub(super) struct Source {
    header: HeaderName,
    prefix: Prefix,
    tokens: Option<SourceTokens>,
}

impl Source {
    pub(super) fn new(header: HeaderName, prefix: Prefix) -> Self {
        Self { header, prefix, tokens: None }
    }

    pub(super) fn take(&mut self, tokens: SourceTokens) {
        self.tokens = Some(tokens);
    }

    pub(super) fn is_usable(&self, now: DateTime<Utc>) -> bool {
        let accepts_any =
            |tokens: &SourceTokens| tokens.book.accepts_any(now, tokens.overlap, tokens.revoked_before);
        self.tokens.as_ref().is_some_and(accepts_any)
    }

    pub(super) fn head(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Head {
        let Some(tokens) = &self.tokens else { return Refusal::CredentialUnusable.into() };
        let is_usable = self.is_usable(now);
        let token = match presented(headers, &self.header, &self.prefix) {
            Ok(token) => token,
            Err(_) if !is_usable => return Refusal::CredentialUnusable.into(),
            Err(reason) => return reason.into(),
        };
        match tokens.book.judge(token, now, tokens.overlap, tokens.revoked_before) {
            Judgement::Accepted(fingerprint) => {
                Head::Accepted(Matched { credential: Credential::Token(fingerprint.clone()), fingerprint })
            }
            Judgement::Retired(fingerprint) => Head::Refused(Refusal::RetiredToken, fingerprint),
            Judgement::Unknown if !is_usable => Refusal::CredentialUnusable.into(),
            Judgement::Unknown => Refusal::UnknownCredential.into(),
        }
    }
}
