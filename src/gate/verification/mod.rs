//! Whether a delivery is genuine, and which credential says so. Pure: bytes and a time go in, a
//! judgement comes out.
//!
//! A [`Verifier`] is made of what a receiver asks for ([`Proof`]) and of what its Secrets hold. It says
//! from the head of a request whatever the head can say ([`Verifier::head`]); for a signature the body
//! is needed too ([`Presented::judge`]). A credential that cannot be used is told of ([`Unusable`]) and
//! matches nothing, while the others go on; a receiver without a usable one takes nothing at all.
//!
//! Nothing secret is compared outside of [`digest::position`](super::digest::position).

mod api_key;
mod basic;
mod credential;
mod encoding;
mod field;
mod head;
mod hmac;
mod prefix;
mod process_key;
mod source;
mod standard_webhooks;
#[cfg(test)]
pub(super) mod tests;
mod token;
pub mod token_book;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::receiver::{Proof, Tokens};
use super::refusal::Refusal;
use crate::http::HeaderName;

pub use credential::{Credential, Loaded, SHORTEST, Unusable, Why};
use head::Signature;
pub use head::{Head, Matched, Presented};
pub use prefix::Prefix;
pub use process_key::ProcessKey;
pub use source::SourceTokens;

/// Judges the deliveries of one receiver, with the credentials that it has at this moment.
pub struct Verifier {
    method: Method,
    headers: Vec<HeaderName>,
}

enum Method {
    Nothing,
    Unusable,
    Token(token::Tokens),
    Source(source::Source),
    ApiKey(api_key::ApiKeys),
    Basic(basic::Basic),
    Hmac(Arc<hmac::Keys>),
    StandardWebhooks(Arc<standard_webhooks::Keys>),
}

impl Verifier {
    /// A verifier with the values that could be read of the Secrets that `proof` names, and what of them
    /// cannot be used, those that could not be read among them. One that takes tokens of a source has
    /// none yet: [`Self::with_tokens`].
    #[must_use]
    pub fn new(proof: &Proof, loaded: &[Loaded], key: &ProcessKey) -> (Self, Vec<Unusable>) {
        let (method, headers, unusable) = match proof {
            Proof::None => (Method::Nothing, Vec::new(), Vec::new()),
            Proof::Token { header, prefix, tokens: Tokens::Secrets(secrets) } => {
                let prefix = Prefix::new(header, prefix);
                let (known, unusable) =
                    credential::usable(secrets, loaded, |text| token::read(&prefix, text, key));
                let method = known.map(|known| {
                    Method::Token(token::Tokens::new(header.clone(), prefix, known, key.clone()))
                });
                (method.unwrap_or(Method::Unusable), vec![header.clone()], unusable)
            }
            Proof::Token { header, prefix, tokens: Tokens::Source(_) } => {
                let method = Method::Source(source::Source::new(header.clone(), Prefix::new(header, prefix)));
                (method, vec![header.clone()], Vec::new())
            }
            Proof::ApiKey { header, secrets } => {
                let headers = api_key::headers(header.as_ref(), secrets, loaded);
                let (known, unusable) =
                    credential::usable(secrets, loaded, |text| api_key::read(header.as_ref(), text, key));
                let method = known.map(|known| Method::ApiKey(api_key::ApiKeys::new(known, key.clone())));
                (method.unwrap_or(Method::Unusable), headers, unusable)
            }
            Proof::Basic { secrets } => {
                let (known, unusable) = credential::usable(secrets, loaded, |text| basic::read(text, key));
                let method = known.map(|known| Method::Basic(basic::Basic::new(known, key.clone())));
                (method.unwrap_or(Method::Unusable), vec![AUTHORIZATION], unusable)
            }
            Proof::Hmac { header, algorithm, encoding, prefix, secrets } => {
                let (known, unusable) =
                    credential::usable(secrets, loaded, |text| hmac::read(*algorithm, text));
                let form = hmac::Form::new(header, *algorithm, *encoding, prefix);
                let method =
                    known.map(|known| Method::Hmac(Arc::new(hmac::Keys::new(form, known, key.clone()))));
                (method.unwrap_or(Method::Unusable), vec![header.clone()], unusable)
            }
            Proof::StandardWebhooks { secrets } => {
                let (known, unusable) = credential::usable(secrets, loaded, standard_webhooks::read);
                let method = known.map(|known| {
                    Method::StandardWebhooks(Arc::new(standard_webhooks::Keys::new(known, key.clone())))
                });
                (method.unwrap_or(Method::Unusable), vec![standard_webhooks::SIGNATURE], unusable)
            }
        };
        (Self { method, headers }, unusable)
    }

    /// The same with the tokens of its source. Without effect on a receiver that takes none.
    #[must_use]
    pub fn with_tokens(mut self, tokens: SourceTokens) -> Self {
        if let Method::Source(source) = &mut self.method {
            source.take(tokens);
        }
        self
    }

    /// Judges a request by its head, as far as that goes.
    ///
    /// No credential, one that comes twice and one that has no form are refused without asking which are
    /// known; [`Refusal::UnknownCredential`] is the only one that a newer set of credentials could take
    /// back, beside [`Refusal::CredentialUnusable`].
    #[must_use]
    pub fn head(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Head {
        let judged = match &self.method {
            Method::Nothing => Ok(Credential::Nothing),
            Method::Unusable => Err(Refusal::CredentialUnusable),
            Method::Source(source) => return source.head(headers, now),
            Method::Token(tokens) => tokens.judge(headers),
            Method::ApiKey(keys) => keys.judge(headers),
            Method::Basic(basic) => basic.judge(headers),
            Method::Hmac(keys) => match keys.present(headers) {
                Ok(presented) => return Head::NeedsBody(Presented(Signature::Hmac(presented))),
                Err(reason) => Err(reason),
            },
            Method::StandardWebhooks(keys) => match keys.present(headers, now) {
                Ok(presented) => return Head::NeedsBody(Presented(Signature::StandardWebhooks(presented))),
                Err(reason) => Err(reason),
            },
        };
        match judged {
            Ok(credential) => Head::Accepted(Matched { credential, fingerprint: None }),
            Err(reason) => reason.into(),
        }
    }

    /// Whether any credential at all can be accepted at this time.
    #[must_use]
    pub fn is_usable(&self, now: DateTime<Utc>) -> bool {
        match &self.method {
            Method::Unusable => false,
            Method::Source(source) => source.is_usable(now),
            _ => true,
        }
    }

    /// The headers that hold the credential: never handed on.
    #[must_use]
    pub fn credential_headers(&self) -> &[HeaderName] {
        &self.headers
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Nothing => "Nothing",
            Method::Unusable => "Unusable",
            Method::Token(_) => "Token",
            Method::Source(_) => "Source",
            Method::ApiKey(_) => "ApiKey",
            Method::Basic(_) => "Basic",
            Method::Hmac(_) => "Hmac",
            Method::StandardWebhooks(_) => "StandardWebhooks",
        };
        formatter.debug_struct("Verifier").field("method", &method).field("headers", &self.headers).finish()
    }
}
