//! HMACs of the body, and Standard Webhooks.

use aws_lc_rs::hmac::{Algorithm, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA512, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

use super::*;

const BODY: &str = r#"{"credits":0}"#;

fn mac(algorithm: Algorithm, secret: &str, body: &str) -> Vec<u8> {
    sign(&Key::new(algorithm, secret.as_bytes()), body.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_test_cases_of_rfc_4231_and_rfc_2202_hold() {
    // Case 2 has a key of four bytes; these have longer ones.
    let key = "\u{b}".repeat(20);
    for (algorithm, expected) in [
        (HmacAlgorithm::Sha1, "b617318655057264e28bc0b6fb378c8ef146be00"),
        (HmacAlgorithm::Sha256, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            HmacAlgorithm::Sha512,
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
    ] {
        let (verifier, _) = verifier(&hmac("s", "", algorithm, HmacEncoding::Hex, &[&key]), &[&key]);
        assert_eq!(judged(&verifier, &[("s", expected)], "Hi There"), first(), "{algorithm:?}");
        assert_eq!(judged(&verifier, &[("s", expected)], "Hi there"), Err(Refusal::UnknownCredential));
    }
}

#[test]
fn equal_bytes_are_equal_however_they_are_written() {
    let texts = [FIRST, SECOND];
    let given = |prefix, algorithm, encoding| {
        verifier(&hmac("signature", prefix, algorithm, encoding, &texts), &texts).0
    };
    let bytes = mac(HMAC_SHA256, SECOND, BODY);
    let by_hex = given("", HmacAlgorithm::Sha256, HmacEncoding::Hex);
    for value in [hex(&bytes), hex(&bytes).to_uppercase()] {
        assert_eq!(judged(&by_hex, &[("signature", &value)], BODY), second(), "{value}");
    }
    let with_prefix = given("sha256=", HmacAlgorithm::Sha256, HmacEncoding::Hex);
    let value = format!("sha256={}", hex(&bytes));
    assert_eq!(judged(&with_prefix, &[("signature", &value)], BODY), second());
    assert_eq!(judged(&with_prefix, &[("signature", &value[7..])], BODY), Err(Refusal::CredentialMalformed));

    let bytes = mac(HMAC_SHA512, FIRST, BODY);
    let by_base64 = given("", HmacAlgorithm::Sha512, HmacEncoding::Base64);
    for value in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
        assert_eq!(judged(&by_base64, &[("signature", &value)], BODY), first(), "{value}");
    }
}

#[test]
fn a_signature_is_there_once_and_has_its_form_before_anybody_reads_a_body() {
    let texts = [FIRST];
    let (verifier, _) =
        verifier(&hmac("signature", "", HmacAlgorithm::Sha256, HmacEncoding::Hex, &texts), &texts);
    let right = hex(&mac(HMAC_SHA256, FIRST, BODY));
    let sha1 = hex(&mac(HMAC_SHA1_FOR_LEGACY_USE_ONLY, FIRST, BODY));
    let with_more = right.clone() + "00";
    let twice = format!("{right}, {right}");
    for value in ["", "x", &right[..63], &right[..62], &with_more, &sha1, &twice, &right.replace('0', "g")] {
        let head = verifier.head(&headers(&[("signature", value)]), at("2026-11-27T03:00:00Z"));
        assert!(matches!(head, Head::Refused(Refusal::CredentialMalformed, None)), "{value} {head:?}");
    }
    let right = ("signature", right.as_str());
    assert_eq!(judged(&verifier, &[right, right], BODY), Err(Refusal::CredentialTwice));
    assert_eq!(judged(&verifier, &[("x-signature", right.1)], BODY), Err(Refusal::NoCredential));

    assert_eq!(judged(&verifier, &[right], BODY), first());
    for body in ["", " ", "{\"credits\":0} ", "{\"credits\": 0}", "{\"credits\":1}", "{\"credits\":0"] {
        assert_eq!(judged(&verifier, &[right], body), Err(Refusal::UnknownCredential), "{body}");
    }
    let of_another = hex(&mac(HMAC_SHA256, SECOND, BODY));
    let of_nothing = hex(&mac(HMAC_SHA256, "", BODY));
    for value in [of_another, of_nothing] {
        assert_eq!(judged(&verifier, &[("signature", &value)], BODY), Err(Refusal::UnknownCredential));
    }
}

#[test]
fn an_empty_key_verifies_nobody() {
    let of_nothing = hex(&mac(HMAC_SHA256, "", BODY));
    for texts in [&["", FIRST][..], &["\n", FIRST], &[FIRST, ""]] {
        let (verifier, unusable) =
            verifier(&hmac("signature", "", HmacAlgorithm::Sha256, HmacEncoding::Hex, texts), texts);
        assert_eq!(unusable.len(), 1);
        let refused = judged(&verifier, &[("signature", &of_nothing)], BODY);
        assert_eq!(refused, Err(Refusal::UnknownCredential));
        let right = hex(&mac(HMAC_SHA256, FIRST, BODY));
        assert!(judged(&verifier, &[("signature", &right)], BODY).is_ok());
    }
}

/// Key, id, time and signature of the reference library's own test:
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/javascript/src/webhook.test.ts>
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: (&str, &str) = ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
const TIME: (&str, &str) = ("webhook-timestamp", "1614265330");
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const SIGNED: &str = r#"{"test": 2432232314}"#;
const WRONG: &str = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";

fn standard(texts: &[&str]) -> (Verifier, Vec<Unusable>) {
    verifier(&Proof::StandardWebhooks { secrets: references(texts) }, texts)
}

fn judged_at(
    verifier: &Verifier,
    seconds: i64,
    lines: &[(&str, &str)],
    body: &str,
) -> Result<Matched, Refusal> {
    match verifier.head(&headers(lines), DateTime::from_timestamp(seconds, 900_000_000).unwrap()) {
        Head::NeedsBody(presented) => presented.judge(body.as_bytes()),
        Head::Refused(reason, None) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_of_standard_webhooks_passes() {
    for key in [KEY, &KEY["whsec_".len()..], &format!("{KEY}\n")] {
        let (verifier, unusable) = standard(&[key]);
        assert_eq!(unusable, []);
        let lines = [ID, TIME, ("webhook-signature", SIGNATURE)];
        assert!(judged_at(&verifier, 1_614_265_330, &lines, SIGNED).is_ok());
        let other = judged_at(&verifier, 1_614_265_330, &lines, "{\"test\": 2432232315}");
        assert_eq!(other, Err(Refusal::UnknownCredential));
    }
}

#[test]
fn one_of_its_signatures_is_enough_and_sixteen_are_looked_at() {
    let (verifier, _) = standard(&["whsec_AAAAAAAAAAAAAAAAAAAAAA==", KEY]);
    let judge = |value: &str| {
        let lines = [ID, TIME, ("webhook-signature", value)];
        judged_at(&verifier, 1_614_265_330, &lines, SIGNED)
    };
    let many = |wrong: usize| format!("{}{SIGNATURE}", format!("{WRONG} ").repeat(wrong));
    let in_the_other_alphabet = SIGNATURE.replace('+', "-").replace('/', "_").replace('=', "");
    let with_others = format!("v1a,AAAA v2,AAAA {WRONG}  {SIGNATURE}\t{WRONG} x");
    let with_a_broken_one = format!("v1,* {SIGNATURE}");
    for value in [SIGNATURE, &with_others, &with_a_broken_one, &in_the_other_alphabet, &many(15)] {
        let matched = judge(value).unwrap();
        assert_eq!(matched.credential, Credential::Secret(reference("1")), "{value}");
    }
    assert_eq!(judge(WRONG), Err(Refusal::UnknownCredential));
    let as_another_version = SIGNATURE.replace("v1,", "v2,");
    for value in
        [&many(16)[..], "", "v1", "v1,", "v1,AAAA", "V1,AAAA", &SIGNATURE[3..], &as_another_version, "v1,*"]
    {
        assert_eq!(judge(value), Err(Refusal::CredentialMalformed), "{value}");
    }
}

#[test]
fn its_time_may_be_five_minutes_from_ours() {
    let (verifier, _) = standard(&[KEY]);
    let lines = [ID, TIME, ("webhook-signature", SIGNATURE)];
    for (away, is_in_time) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        let judged = judged_at(&verifier, 1_614_265_330 + away, &lines, SIGNED);
        assert_eq!(judged.err(), (!is_in_time).then_some(Refusal::StaleTimestamp), "{away}");
    }
    for time in ["", "-1", "+1614265330", "1614265330.0", "hello", "99999999999999999999", "0x1"] {
        let lines = [ID, ("webhook-timestamp", time), ("webhook-signature", SIGNATURE)];
        let judged = judged_at(&verifier, 1_614_265_330, &lines, SIGNED);
        assert_eq!(judged, Err(Refusal::CredentialMalformed), "{time}");
    }
    for time in ["0", "9223372036854775807"] {
        let lines = [ID, ("webhook-timestamp", time), ("webhook-signature", SIGNATURE)];
        let judged = judged_at(&verifier, 1_614_265_330, &lines, SIGNED);
        assert_eq!(judged, Err(Refusal::StaleTimestamp), "{time}");
    }
}

#[test]
fn each_of_its_headers_is_there_once_and_is_signed() {
    let (verifier, _) = standard(&[KEY]);
    let signature = ("webhook-signature", SIGNATURE);
    for (lines, reason) in [
        (&[ID, TIME][..], Refusal::NoCredential),
        (&[TIME, signature], Refusal::CredentialMalformed),
        (&[ID, signature], Refusal::CredentialMalformed),
        (&[("webhook-id", ""), TIME, signature], Refusal::CredentialMalformed),
        (&[ID, TIME, signature, signature], Refusal::CredentialTwice),
        (&[ID, ID, TIME, signature], Refusal::CredentialTwice),
        (&[ID, TIME, TIME, signature], Refusal::CredentialTwice),
        (&[("webhook-id", "msg_other"), TIME, signature], Refusal::UnknownCredential),
        (&[ID, ("webhook-timestamp", "1614265331"), signature], Refusal::UnknownCredential),
    ] {
        assert_eq!(judged_at(&verifier, 1_614_265_330, lines, SIGNED), Err(reason), "{lines:?}");
    }
}

#[test]
fn its_key_is_base64_and_long_enough_once_decoded() {
    let (_, unusable) = standard(&["whsec_", "whsec_*", "whsec_AAAAAAAAAA", KEY]);
    let why: Vec<_> = unusable.iter().map(|unusable| unusable.why.clone()).collect();
    assert_eq!(why, [Why::Empty, Why::NotBase64, Why::TooShort]);
}
