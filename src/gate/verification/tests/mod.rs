//! Verification as the design asks for it, the platforms' own examples, and hostile input.

mod hostile;
mod platforms;
mod signatures;
mod source;

use std::time::Duration;

use hyper::header::HeaderValue;

use super::*;
use crate::api::{DuplicateAction, HmacAlgorithm, HmacEncoding, Mode, SecretKeyReference};
use crate::gate::receiver::{Destination, Duplicates, EventName, Forward, Pointer, Receiver};
use crate::store::{Extent, Owner};

pub(in crate::gate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(in crate::gate) fn pointer(text: &str) -> Pointer {
    Pointer(text.split('/').skip(1).map(str::to_owned).collect())
}

/// A receiver that takes everything and asks for nothing.
pub(in crate::gate) fn receiver() -> Receiver {
    let room = Extent { deliveries: 10, bytes: 1_000 };
    Receiver {
        owner: Owner { namespace: "shop".into(), name: "hooks".into(), uid: "uid-1".into() },
        generation: 1,
        created: None,
        path: "/shop/hooks".to_owned(),
        proof: Proof::None,
        source_ranges: Vec::new(),
        max_body: 1 << 20,
        max_pending: room,
        max_parked: room,
        hand_on: None,
        test_event: None,
        duplicates: Duplicates {
            key: EventName::Body,
            window: Duration::from_secs(86_400),
            action: DuplicateAction::Mark,
        },
        event_name: None,
        event_time: None,
        content_type: None,
        success: 200,
        mode: Mode::Stored,
        forward: Forward {
            to: Destination::Service { name: "app".to_owned(), port: 80, path: "/".to_owned() },
            timeout: Duration::from_secs(10),
            max_concurrent: 10,
            max_attempts: 50,
            interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(600),
        },
        retention: Duration::from_secs(259_200),
        suspended: false,
        requests_per_second: 1_000,
        revoked_before: None,
        overlap: Duration::from_secs(7_200),
        sealed_only: false,
        removed_after: None,
        fallback: None,
    }
}

pub(in crate::gate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn reference(key: &str) -> SecretKeyReference {
    SecretKeyReference { name: "webhook".to_owned(), key: key.to_owned() }
}

fn references(texts: &[&str]) -> Vec<SecretKeyReference> {
    (0..texts.len()).map(|index| reference(&index.to_string())).collect()
}

fn loaded(texts: &[&str]) -> Vec<Loaded> {
    let pairs = references(texts).into_iter().zip(texts);
    pairs.map(|(reference, text)| Loaded { reference, text: (*text).into() }).collect()
}

fn name(header: &str) -> HeaderName {
    HeaderName::from_bytes(header.as_bytes()).unwrap()
}

fn token(header: &str, prefix: &str, texts: &[&str]) -> Proof {
    Proof::Token {
        header: name(header),
        prefix: prefix.to_owned(),
        tokens: Tokens::Secrets(references(texts)),
    }
}

fn hmac(
    header: &str,
    prefix: &str,
    algorithm: HmacAlgorithm,
    encoding: HmacEncoding,
    texts: &[&str],
) -> Proof {
    Proof::Hmac {
        header: name(header),
        algorithm,
        encoding,
        prefix: prefix.to_owned(),
        secrets: references(texts),
    }
}

fn verifier(proof: &Proof, texts: &[&str]) -> (Verifier, Vec<Unusable>) {
    Verifier::new(proof, &loaded(texts), &ProcessKey::new(&[7; 32]))
}

/// What a request comes to: which secret it was, by its place, or why it is refused.
fn judged(verifier: &Verifier, lines: &[(&str, &str)], body: &str) -> Result<String, Refusal> {
    let matched = match verifier.head(&headers(lines), at("2026-11-27T03:00:00Z")) {
        Head::Accepted(matched) => matched,
        Head::NeedsBody(presented) => presented.judge(body.as_bytes())?,
        Head::Refused(reason, _) => return Err(reason),
    };
    Ok(match matched.credential {
        Credential::Secret(reference) => reference.key,
        other => other.to_string(),
    })
}

const FIRST: &str = "first-secret";
const SECOND: &str = "second-secret";

fn first() -> Result<String, Refusal> {
    Ok("0".to_owned())
}

fn second() -> Result<String, Refusal> {
    Ok("1".to_owned())
}

#[test]
fn nothing_is_asked_for_only_where_that_is_written_out() {
    let (verifier, unusable) = verifier(&Proof::None, &[]);
    assert_eq!(judged(&verifier, &[], ""), Ok("none is asked for".to_owned()));
    assert_eq!(unusable, []);
    assert_eq!(verifier.credential_headers(), &[] as &[HeaderName]);
}

#[test]
fn a_token_is_any_of_those_in_the_secrets() {
    let texts = [FIRST, SECOND];
    let (verifier, unusable) = verifier(&token("X-Webhook-Token", "", &texts), &texts);
    assert_eq!(unusable, []);
    assert_eq!(judged(&verifier, &[("x-webhook-token", FIRST)], ""), first());
    assert_eq!(judged(&verifier, &[("x-webhook-token", SECOND)], ""), second());
    for (lines, reason) in [
        (&[][..], Refusal::NoCredential),
        (&[("authorization", FIRST)], Refusal::NoCredential),
        (&[("x-webhook-token", "")], Refusal::CredentialMalformed),
        (&[("x-webhook-token", "first-secreT")], Refusal::UnknownCredential),
        (&[("x-webhook-token", "first-secre")], Refusal::UnknownCredential),
        (&[("x-webhook-token", "first-secret2")], Refusal::UnknownCredential),
        (&[("x-webhook-token", "first-secret, second-secret")], Refusal::UnknownCredential),
        (&[("x-webhook-token", "first-secr\u{e9}t")], Refusal::UnknownCredential),
        (&[("x-webhook-token", FIRST), ("x-webhook-token", FIRST)], Refusal::CredentialTwice),
        (&[("x-webhook-token", FIRST), ("x-webhook-token", "")], Refusal::CredentialTwice),
    ] {
        assert_eq!(judged(&verifier, lines, ""), Err(reason), "{lines:?}");
    }
    assert_eq!(verifier.credential_headers(), [name("x-webhook-token")]);
}

#[test]
fn a_prefix_of_authorization_is_a_scheme() {
    let texts = [FIRST];
    let (verifier, _) = verifier(&token("Authorization", "Bearer ", &texts), &texts);
    for value in ["Bearer first-secret", "bearer first-secret", "BEARER \t first-secret"] {
        assert_eq!(judged(&verifier, &[("authorization", value)], ""), first(), "{value}");
    }
    for value in ["first-secret", "Basic first-secret", "Bearerfirst-secret", "Bearer", "Bearer "] {
        let refused = judged(&verifier, &[("authorization", value)], "");
        assert_eq!(refused, Err(Refusal::CredentialMalformed), "{value}");
    }
}

#[test]
fn a_scheme_in_the_secret_itself_is_not_asked_for_twice() {
    let texts = ["Bearer first-secret\n"];
    let (verifier, _) = verifier(&token("Authorization", "Bearer ", &texts), &texts);
    assert_eq!(judged(&verifier, &[("authorization", "Bearer first-secret")], ""), first());
    assert!(judged(&verifier, &[("authorization", "Bearer Bearer first-secret")], "").is_err());
}

#[test]
fn an_api_key_goes_where_the_secret_says() {
    let api_key = |header: Option<&str>, texts: &[&str]| {
        let proof = Proof::ApiKey { header: header.map(name), secrets: references(texts) };
        verifier(&proof, texts).0
    };
    for (text, header, value) in [
        ("X-API-Key:abc12345", "x-api-key", "abc12345"),
        ("X-API-Key: abc12345 \r\n", "x-api-key", "abc12345"),
        ("Authorization:Bearer abc123", "authorization", "Bearer abc123"),
        ("abc12345", "authorization", "abc12345"),
        // The first colon divides.
        ("X-API-Key:abc:12345", "x-api-key", "abc:12345"),
        // What precedes it is no name of a header.
        ("Bearer abc:12345", "authorization", "Bearer abc:12345"),
        (":abc12345", "authorization", ":abc12345"),
        ("X API Key:abc12345", "authorization", "X API Key:abc12345"),
    ] {
        let verifier = api_key(None, &[text]);
        assert_eq!(judged(&verifier, &[(header, value)], ""), first(), "{text}");
        assert_eq!(verifier.credential_headers(), [name(header)], "{text}");
        let other = if header == "authorization" { "x-api-key" } else { "authorization" };
        assert_eq!(judged(&verifier, &[(other, value)], ""), Err(Refusal::NoCredential), "{text}");
        let twice = [(header, value), (header, value)];
        assert_eq!(judged(&verifier, &twice, ""), Err(Refusal::CredentialTwice), "{text}");
    }
    let named = api_key(Some("X-Key"), &["X-API-Key:abc"]);
    assert_eq!(judged(&named, &[("x-key", "X-API-Key:abc")], ""), first());
    assert_eq!(judged(&named, &[("x-api-key", "abc")], ""), Err(Refusal::NoCredential));
}

#[test]
fn api_keys_of_one_receiver_may_be_in_different_headers() {
    let texts = ["X-API-Key:first-secret", "second-secret", "x-api-key:third-secret"];
    let (verifier, _) = verifier(&Proof::ApiKey { header: None, secrets: references(&texts) }, &texts);
    assert_eq!(verifier.credential_headers(), [name("authorization"), name("x-api-key")]);
    for (lines, expected) in [
        (&[("x-api-key", FIRST)][..], first()),
        (&[("authorization", SECOND)], second()),
        (&[("x-api-key", "third-secret")], Ok("2".to_owned())),
        // The right key in the wrong one of the two headers.
        (&[("authorization", FIRST)], Err(Refusal::UnknownCredential)),
        (&[("x-api-key", SECOND)], Err(Refusal::UnknownCredential)),
        // A proxy may have put something of its own into the other one.
        (&[("x-api-key", FIRST), ("authorization", "Basic YTpi")], first()),
        (&[("x-api-key", FIRST), ("authorization", "")], first()),
        (&[("x-api-key", ""), ("authorization", "wrong")], Err(Refusal::UnknownCredential)),
        (&[("x-api-key", "")], Err(Refusal::CredentialMalformed)),
        (&[], Err(Refusal::NoCredential)),
        // Nobody knows what the application reads when one of them is there twice.
        (
            &[("x-api-key", FIRST), ("authorization", SECOND), ("authorization", SECOND)],
            Err(Refusal::CredentialTwice),
        ),
    ] {
        assert_eq!(judged(&verifier, lines, ""), expected, "{lines:?}");
    }
}

#[test]
fn basic_is_compared_as_a_whole_however_it_is_written() {
    let texts = ["user:pa:ss\u{e7}?>", "other:password\n"];
    let (verifier, unusable) = verifier(&Proof::Basic { secrets: references(&texts) }, &texts);
    assert_eq!(unusable, []);
    // `user:pa:ssç?>` and `other:password`.
    for value in [
        "Basic dXNlcjpwYTpzc8OnPz4=",
        "basic dXNlcjpwYTpzc8OnPz4",
        "BASIC\tdXNlcjpwYTpzc8OnPz4=",
        "Basic   dXNlcjpwYTpzc8OnPz4",
    ] {
        assert_eq!(judged(&verifier, &[("authorization", value)], ""), first(), "{value}");
    }
    let other = [("authorization", "Basic b3RoZXI6cGFzc3dvcmQ=")];
    assert_eq!(judged(&verifier, &other, ""), second());
    for (value, reason) in [
        // user:password
        ("Basic dXNlcjpwYXNzd29yZA==", Refusal::UnknownCredential),
        // user:pa
        ("Basic dXNlcjpwYQ==", Refusal::UnknownCredential),
        ("Basic", Refusal::CredentialMalformed),
        ("Basic ", Refusal::CredentialMalformed),
        ("Basic *", Refusal::CredentialMalformed),
        // nocolons
        ("Basic bm9jb2xvbnM=", Refusal::CredentialMalformed),
        ("Bearer b3RoZXI6cGFzc3dvcmQ=", Refusal::CredentialMalformed),
        ("b3RoZXI6cGFzc3dvcmQ=", Refusal::CredentialMalformed),
        ("other:password", Refusal::CredentialMalformed),
    ] {
        assert_eq!(judged(&verifier, &[("authorization", value)], ""), Err(reason), "{value}");
    }
    assert_eq!(judged(&verifier, &[other[0], other[0]], ""), Err(Refusal::CredentialTwice));
    assert_eq!(judged(&verifier, &[], ""), Err(Refusal::NoCredential));
}

#[test]
fn what_cannot_be_used_is_told_and_matches_nothing_while_the_others_go_on() {
    let texts = ["", "\n", "short", "seven77\n", "two\nlines-here", "a\u{7f}bcdefgh", "eight888"];
    let mut given = loaded(&texts);
    let mut secrets = references(&texts);
    secrets.push(reference("missing"));
    given.push(Loaded { reference: reference("of somebody else"), text: "of-somebody-else".into() });
    let proof =
        Proof::Token { header: name("x-token"), prefix: String::new(), tokens: Tokens::Secrets(secrets) };
    let (verifier, unusable) = Verifier::new(&proof, &given, &ProcessKey::new(&[7; 32]));
    let why: Vec<_> =
        unusable.iter().map(|unusable| (unusable.which.key.as_str(), unusable.why.clone())).collect();
    assert_eq!(
        why,
        [
            ("0", Why::Empty),
            ("1", Why::Empty),
            ("2", Why::TooShort),
            ("3", Why::TooShort),
            ("4", Why::NotAHeaderValue),
            ("5", Why::NotAHeaderValue),
            ("missing", Why::Missing),
        ]
    );
    assert_eq!(judged(&verifier, &[("x-token", "eight888")], ""), Ok("6".to_owned()));
    for value in ["short", "seven77", "two", "of-somebody-else"] {
        assert_eq!(judged(&verifier, &[("x-token", value)], ""), Err(Refusal::UnknownCredential), "{value}");
    }
    assert_eq!(
        unusable[2].to_string(),
        "key 2 of Secret webhook: the credential in it is shorter than 8 bytes, so it can be guessed; use \
         a longer one"
    );
}

#[test]
fn without_a_usable_credential_every_request_is_answered_alike() {
    let all = |texts: &[&str]| {
        let secrets = references(texts);
        [
            token("x-token", "", texts),
            Proof::ApiKey { header: None, secrets: secrets.clone() },
            Proof::Basic { secrets: secrets.clone() },
            hmac("signature", "", HmacAlgorithm::Sha256, HmacEncoding::Hex, texts),
            Proof::StandardWebhooks { secrets },
        ]
    };
    for texts in [&[""][..], &["1234567"], &["a:"], &[]] {
        for proof in all(texts) {
            let (verifier, unusable) = verifier(&proof, texts);
            assert_eq!(unusable.len(), texts.len());
            for lines in [
                &[][..],
                &[("x-token", "1234567"), ("authorization", "1234567")],
                &[("signature", "00"), ("webhook-signature", "v1,AAAA")],
            ] {
                assert_eq!(judged(&verifier, lines, ""), Err(Refusal::CredentialUnusable), "{proof:?}");
            }
        }
    }
    // A user without a password is one; a text without a colon is none.
    let texts = ["a-user-alone", "a-user-alone:"];
    let (_, unusable) = verifier(&Proof::Basic { secrets: references(&texts) }, &texts);
    assert_eq!(unusable, [Unusable { which: reference("0"), why: Why::NoColon }]);
    // The name of a header adds nothing to the length of what is secret.
    let texts = ["X-API-Key:1234567", "X-API-Key:", "X-API-Key:12345678"];
    let (_, unusable) = verifier(&Proof::ApiKey { header: None, secrets: references(&texts) }, &texts);
    assert_eq!(
        unusable.iter().map(|unusable| unusable.why.clone()).collect::<Vec<_>>(),
        [Why::TooShort, Why::Empty]
    );
}

#[test]
fn nothing_secret_is_shown() {
    let texts = ["canary-secret-one"];
    for proof in [
        token("x-token", "", &texts),
        hmac("signature", "", HmacAlgorithm::Sha256, HmacEncoding::Hex, &texts),
        Proof::ApiKey { header: None, secrets: references(&texts) },
    ] {
        let given = loaded(&texts);
        let (verifier, unusable) = verifier(&proof, &texts);
        let head = verifier.head(
            &headers(&[("x-token", texts[0]), ("authorization", texts[0]), ("signature", &"0".repeat(64))]),
            at("2026-11-27T03:00:00Z"),
        );
        let shown = format!("{verifier:?} {head:?} {unusable:?} {given:?} {:?}", ProcessKey::new(&[7; 32]));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
