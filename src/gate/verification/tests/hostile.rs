//! Whatever is in the headers and the body: a judgement, never a panic, and nobody in.

use base64::Engine as _;
use proptest::prelude::*;

use super::*;

/// One of each kind, each with the same secret.
fn verifiers() -> Vec<Verifier> {
    let texts = ["user:dG9wLXNlY3JldA"];
    [
        token("credential", "", &texts),
        token("authorization", "Bearer ", &texts),
        Proof::ApiKey { header: Some(name("credential")), secrets: references(&texts) },
        Proof::ApiKey { header: None, secrets: references(&texts) },
        Proof::Basic { secrets: references(&texts) },
        hmac("credential", "sha256=", HmacAlgorithm::Sha256, HmacEncoding::Hex, &texts),
        hmac("credential", "", HmacAlgorithm::Sha1, HmacEncoding::Base64, &texts),
        Proof::StandardWebhooks { secrets: references(&["dG9wLXNlY3JldA"]) },
    ]
    .iter()
    .map(|proof| {
        verifier(
            proof,
            &[if matches!(proof, Proof::StandardWebhooks { .. }) { "dG9wLXNlY3JldA" } else { texts[0] }],
        )
        .0
    })
    .collect()
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"Basic ".to_vec()),
        Just(b"bearer".to_vec()),
        Just(b"sha256=".to_vec()),
        Just(b"v1,".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\t".to_vec()),
        Just(b"=".to_vec()),
        Just(b"1795748400".to_vec()),
        "[0-9a-f]{0,64}".prop_map(String::into_bytes),
        "[A-Za-z0-9+/_-]{0,44}={0,2}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(word, 0..6).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_header_gets_anybody_in_and_none_makes_a_verifier_panic(
        lines in prop::collection::vec(
            (prop::sample::select(vec![
                "credential", "authorization", "webhook-id", "webhook-timestamp", "webhook-signature", "user",
            ]), any_value()),
            0..6,
        ),
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(*name, value);
            }
        }
        for verifier in verifiers() {
            match verifier.head(&headers, at("2026-11-27T03:00:00Z")) {
                Head::Accepted(matched) => prop_assert!(false, "{:?} {:?}", verifier, matched),
                Head::NeedsBody(presented) => prop_assert!(presented.judge(&body).is_err()),
                Head::Refused(reason, fingerprint) => {
                    prop_assert_eq!(reason.status(), 401);
                    prop_assert_eq!(fingerprint, None);
                }
            }
        }
    }

    #[test]
    fn whatever_a_secret_holds_it_is_told_of_or_accepted(text in any::<String>(), wrong in "[a-z]{8,12}") {
        let (verifier, unusable) = verifier(&token("credential", "", &[&text]), &[&text]);
        let trimmed = text.strip_suffix("\r\n").or(text.strip_suffix('\n')).unwrap_or(&text);
        let trimmed = trimmed.trim_matches([' ', '\t']);
        if unusable.is_empty() {
            prop_assert_eq!(judged(&verifier, &[("credential", trimmed)], ""), first());
            prop_assert!(wrong == trimmed || judged(&verifier, &[("credential", &wrong)], "").is_err());
        } else {
            prop_assert!(trimmed.len() < 8 || trimmed.contains(|character: char| character.is_ascii_control()));
            prop_assert_eq!(
                judged(&verifier, &[("credential", &wrong)], ""),
                Err(Refusal::CredentialUnusable)
            );
        }
    }

    #[test]
    fn basic_takes_what_the_secret_holds_and_nothing_else(
        user in "[^:\u{0}]{1,8}",
        password in "\\PC{8,12}",
        other in "\\PC{8,12}",
    ) {
        let secret = format!("{user}:{password}");
        let texts = [secret.as_str()];
        let (verifier, _) = verifier(&Proof::Basic { secrets: references(&texts) }, &texts);
        let encoded = |text: &str| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
        };
        let right = encoded(&secret);
        prop_assert_eq!(judged(&verifier, &[("authorization", &right)], ""), first());
        let wrong = encoded(&format!("{user}:{other}"));
        prop_assert!(other == password || judged(&verifier, &[("authorization", &wrong)], "").is_err());
    }
}
