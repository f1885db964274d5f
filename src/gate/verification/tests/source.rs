//! Tokens of a source.

use super::*;
use crate::gate::digest::DigestKey;
use crate::gate::verification::token_book::{PublishedToken, TokenBook};
use crate::secret::SecretText;

fn book(prefix: &Prefix, tokens: &[&str]) -> TokenBook {
    let mut book = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), Vec::new());
    for (index, text) in tokens.iter().enumerate() {
        let minted = at("2026-11-27T01:00:00Z") + chrono::TimeDelta::hours(i64::try_from(index).unwrap());
        let (text, fingerprint) = (SecretText::from(*text), format!("fp-{index}"));
        let token = PublishedToken { text: &text, fingerprint: Some(&fingerprint), minted: Some(minted) };
        book.learn(prefix, &token, None, minted, Duration::from_secs(3_600));
    }
    book
}

fn judge(proof: &Proof, tokens: Option<SourceTokens>, lines: &[(&str, &str)]) -> Head {
    let (mut verifier, unusable) = verifier(proof, &[]);
    assert_eq!(unusable, []);
    if let Some(tokens) = tokens {
        verifier = verifier.with_tokens(tokens);
    }
    verifier.head(&headers(lines), at("2026-11-27T03:30:00Z"))
}

fn proof() -> Proof {
    Proof::Token {
        header: name("authorization"),
        prefix: "Bearer ".to_owned(),
        tokens: Tokens::Source("hr".to_owned()),
    }
}

#[test]
fn which_token_it_was_is_said_for_accepted_and_retired_ones() {
    let prefix = Prefix::new(&AUTHORIZATION, "Bearer ");
    // Current since 01:00, 02:00 and 03:00; it is 03:30, and the overlap is an hour.
    let book = Arc::new(book(&prefix, &["token-one", "Bearer token-two", "token-three"]));
    let tokens = |revoked_before| SourceTokens {
        book: book.clone(),
        overlap: Duration::from_secs(3_600),
        revoked_before,
    };
    let with = |value: &str| judge(&proof(), Some(tokens(None)), &[("authorization", value)]);
    for (value, fingerprint) in
        [("Bearer token-three", "fp-2"), ("bearer  token-three", "fp-2"), ("Bearer token-two", "fp-1")]
    {
        let Head::Accepted(matched) = with(value) else { panic!("{value}") };
        assert_eq!(matched.fingerprint.as_deref(), Some(fingerprint), "{value}");
        assert_eq!(matched.credential.to_string(), format!("token {fingerprint}"));
    }
    let Head::Refused(Refusal::RetiredToken, fingerprint) = with("Bearer token-one") else { panic!() };
    assert_eq!(fingerprint.as_deref(), Some("fp-0"));
    assert!(matches!(with("Bearer token-four"), Head::Refused(Refusal::UnknownCredential, None)));
    assert!(matches!(with("token-three"), Head::Refused(Refusal::CredentialMalformed, None)));
    assert!(matches!(judge(&proof(), Some(tokens(None)), &[]), Head::Refused(Refusal::NoCredential, None)));

    // Revoked while its overlap lasts, and then all of them.
    let revoked = Some(at("2026-11-27T02:30:00Z"));
    let head = judge(&proof(), Some(tokens(revoked)), &[("authorization", "Bearer token-two")]);
    assert!(matches!(head, Head::Refused(Refusal::RetiredToken, Some(_))));
    let head = judge(&proof(), Some(tokens(revoked)), &[("authorization", "Bearer token-three")]);
    assert!(matches!(head, Head::Accepted(_)));
    let all = Some(at("2026-11-27T03:30:00Z"));
    let head = judge(&proof(), Some(tokens(all)), &[("authorization", "Bearer token-three")]);
    assert!(matches!(head, Head::Refused(Refusal::RetiredToken, Some(_))));
    for lines in [&[("authorization", "Bearer token-four")][..], &[("authorization", "x")], &[]] {
        let head = judge(&proof(), Some(tokens(all)), lines);
        assert!(matches!(head, Head::Refused(Refusal::CredentialUnusable, None)), "{lines:?}");
    }
}

#[test]
fn before_any_token_is_known_none_can_be_judged() {
    let empty = SourceTokens {
        book: Arc::new(book(&Prefix::new(&AUTHORIZATION, "Bearer "), &[])),
        overlap: Duration::from_secs(3_600),
        revoked_before: None,
    };
    for tokens in [None, Some(empty)] {
        for lines in [&[("authorization", "Bearer token-one")][..], &[]] {
            let head = judge(&proof(), tokens.clone(), lines);
            assert!(matches!(head, Head::Refused(Refusal::CredentialUnusable, None)), "{lines:?}");
        }
    }
}
