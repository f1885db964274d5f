//! Every verifier, with whatever stands in the headers and the body.
//!
//! The first byte picks the kind of proof. Nothing makes a verifier panic; who is let in presented the
//! credential itself, or the very bytes that a signature was made for.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hookkeeper::api::{HmacAlgorithm, HmacEncoding, SecretKeyReference};
use hookkeeper::gate::digest::DigestKey;
use hookkeeper::gate::receiver::{Proof, Tokens};
use hookkeeper::gate::refusal::Refusal;
use hookkeeper::gate::verification::token_book::{PublishedToken, TokenBook};
use hookkeeper::gate::verification::{Head, Loaded, Prefix, ProcessKey, SourceTokens, Verifier};
use hookkeeper::http::HeaderName;
use hookkeeper::secret::SecretText;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::header_block;

/// The token, and the value of the API keys.
pub const TOKEN: &str = "canary-token+/=";
/// User and password.
pub const BASIC: &str = "user:canary:password";
/// The same as Basic authentication writes it, without its padding.
pub const BASIC_ENCODED: &str = "dXNlcjpjYW5hcnk6cGFzc3dvcmQ";
/// The body that the signatures are of.
pub const SIGNED: &str = r#"{"test": 2432232314}"#;
/// The key of the HMACs, and their values.
pub const HMAC_KEY: &str = "canary-hmac-key";
pub const HMAC_HEX: &str = "da0dd73e2a6c0d6c61c7ebf6426cdcd2958574500fe8d64fcaa5c1cda52da091";
pub const HMAC_BASE64: &str = "2g3XPipsDWxhx+v2Qmzc0pWFdFAP6NZPyqXBzaUtoJE=";
/// Standard Webhooks: key, id, time and signature of the example of its reference library.
pub const STANDARD_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
pub const STANDARD_TIME: i64 = 1_614_265_330;
pub const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

struct Kind {
    verifier: Verifier,
    /// Whether these headers and this body may be let in.
    may_pass: fn(&HeaderMap, &[u8]) -> bool,
}

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(kinds);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(STANDARD_TIME, 0).unwrap()
}

fn holds(headers: &HeaderMap, name: &str, text: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none());
    value.is_some_and(|value| value.as_bytes().ends_with(text.as_bytes()))
}

fn kinds() -> Vec<Kind> {
    let reference = SecretKeyReference { name: "webhook".to_owned(), key: "secret".to_owned() };
    let secrets = vec![reference.clone()];
    let header = HeaderName::from_static("credential");
    let verifier = |proof: &Proof, text: &str| {
        let loaded = [Loaded { reference: reference.clone(), text: text.into() }];
        let (verifier, unusable) = Verifier::new(proof, &loaded, &ProcessKey::new(&[7; 32]));
        assert!(unusable.is_empty());
        verifier
    };
    let hmac = |encoding, prefix: &str| Proof::Hmac {
        header: header.clone(),
        algorithm: HmacAlgorithm::Sha256,
        encoding,
        prefix: prefix.to_owned(),
        secrets: secrets.clone(),
    };
    let tokens = |tokens| Proof::Token { header: AUTHORIZATION, prefix: "Bearer ".to_owned(), tokens };
    let mut book = TokenBook::new(DigestKey::new(&[1; 32]), "uid".into(), Vec::new());
    let text = SecretText::from(TOKEN);
    let published = PublishedToken { text: &text, fingerprint: Some("f"), minted: Some(now()) };
    book.learn(&Prefix::new(&AUTHORIZATION, "Bearer "), &published, None, now(), Duration::from_secs(60));
    let book = SourceTokens { book: Arc::new(book), overlap: Duration::from_secs(60), revoked_before: None };
    vec![
        Kind {
            verifier: verifier(&tokens(Tokens::Secrets(secrets.clone())), TOKEN),
            may_pass: |headers, _| holds(headers, "authorization", TOKEN),
        },
        Kind {
            verifier: Verifier::new(
                &tokens(Tokens::Source("hr".to_owned())),
                &[],
                &ProcessKey::new(&[7; 32]),
            )
            .0
            .with_tokens(book),
            may_pass: |headers, _| holds(headers, "authorization", TOKEN),
        },
        Kind {
            verifier: verifier(
                &Proof::ApiKey { header: None, secrets: secrets.clone() },
                &format!("Credential:{TOKEN}"),
            ),
            may_pass: |headers, _| holds(headers, "credential", TOKEN),
        },
        Kind {
            verifier: verifier(&Proof::Basic { secrets: secrets.clone() }, BASIC),
            may_pass: |headers, _| {
                ["", "="].iter().any(|pad| holds(headers, "authorization", &format!("{BASIC_ENCODED}{pad}")))
            },
        },
        Kind {
            verifier: verifier(&hmac(HmacEncoding::Hex, "sha256="), HMAC_KEY),
            may_pass: |_, body| body == SIGNED.as_bytes(),
        },
        Kind {
            verifier: verifier(&hmac(HmacEncoding::Base64, ""), HMAC_KEY),
            may_pass: |_, body| body == SIGNED.as_bytes(),
        },
        Kind {
            verifier: verifier(&Proof::StandardWebhooks { secrets: secrets.clone() }, STANDARD_KEY),
            may_pass: |headers, body| {
                body == SIGNED.as_bytes()
                    && holds(headers, "webhook-id", STANDARD_ID)
                    && holds(headers, "webhook-timestamp", &STANDARD_TIME.to_string())
            },
        },
    ]
}

/// Returns whether the delivery is let in.
pub fn run(kind: u8, block: &[u8], body: &[u8]) -> bool {
    let kind = &KINDS[usize::from(kind) % KINDS.len()];
    let headers = header_block::read(block);
    let judged = match kind.verifier.head(&headers, now()) {
        Head::Accepted(_) => Ok(()),
        Head::NeedsBody(presented) => presented.judge(body).map(|_| ()),
        Head::Refused(reason, _) => Err(reason),
    };
    match judged {
        Ok(()) => assert!((kind.may_pass)(&headers, body), "nobody else is let in"),
        Err(reason) => {
            assert_eq!(reason.status(), 401);
            assert!(reason != Refusal::RetiredToken, "no token was retired");
        }
    }
    judged.is_ok()
}
