//! Credentials that are none.

use std::collections::BTreeMap;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::stage::Gate;
use super::{API_KEY, BASIC, BODY, Neighbour, SECRET, TOKEN, stage, start};

/// What is sent, and why it is refused; `None` when it is taken.
type Case = (Vec<(&'static str, String)>, Option<&'static str>);

fn case(headers: &[(&'static str, &str)], refused: Option<&'static str>) -> Case {
    (headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), refused)
}

const NONE: Option<&str> = Some("NoCredential");
const TWICE: Option<&str> = Some("CredentialTwice");
const MALFORMED: Option<&str> = Some("CredentialMalformed");
const UNKNOWN: Option<&str> = Some("UnknownCredential");

/// Sends all at the same time, and compares the answers and what the gate says about them.
async fn judge(gate: &Gate, receiver: &str, cases: &[Case]) {
    let path = format!("/{receiver}");
    std::thread::scope(|scope| {
        for (headers, refused) in cases {
            let path = &path;
            scope.spawn(move || {
                let lines: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let answer = gate.post(path, &lines, BODY);
                let status = if refused.is_some() { 401 } else { 200 };
                assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{headers:?}");
                assert_eq!(answer.header("connection"), Some("close"), "{headers:?}");
            });
        }
    });
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for reason in cases.iter().filter_map(|(_, refused)| *refused) {
        *reasons.entry(reason).or_default() += 1;
    }
    gate.until_refused(receiver, &reasons.into_iter().collect::<Vec<_>>()).await;
    let taken = cases.iter().filter(|(_, refused)| refused.is_none()).count();
    gate.until("the others are taken", || gate.accepted(receiver) == taken as f64).await;
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_not_exactly_that_of_the_secret_is_refused() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let (name, value) = BASIC;
    let encoded = value.trim_start_matches("Basic ");
    let case_of = |value: &str, refused| case(&[(name, value)], refused);
    let cases = [
        case(&[BASIC], None),
        // The scheme may be written in any way, with any blanks (RFC 9110, sections 11.1 and 5.6.3).
        case_of(&format!("basic   {encoded}"), None),
        case_of(&format!("BASIC\t{encoded}  "), None),
        case(&[], NONE),
        case(&[("X-Authorization", value)], NONE),
        case(&[("Proxy-Authorization", value)], NONE),
        case(&[("Cookie", value)], NONE),
        case(&[BASIC, BASIC], TWICE),
        case(&[BASIC, (name, "")], TWICE),
        case(&[(name, &basic("user:wrong-password")), BASIC], TWICE),
        case_of("", MALFORMED),
        case_of("   ", MALFORMED),
        case_of("Basic", MALFORMED),
        case_of("Basic   ", MALFORMED),
        case_of(encoded, MALFORMED),
        case_of(&format!("Basic{encoded}"), MALFORMED),
        case_of("Basic user:canary-password", MALFORMED),
        case_of("Basic !!!", MALFORMED),
        case_of(&format!("{value}\u{e9}"), MALFORMED),
        case_of(&format!("{value}, {value}"), MALFORMED),
        case_of("Bearer canary-password", MALFORMED),
        case_of("Digest username=\"user\"", MALFORMED),
        case_of(&basic("usercanary-password"), MALFORMED),
        case_of(&basic(":"), UNKNOWN),
        case_of(&basic("user:"), UNKNOWN),
        case_of(&basic(":canary-password"), UNKNOWN),
        case_of(&basic("user:canary-passwor"), UNKNOWN),
        case_of(&basic("user:canary-password\n"), UNKNOWN),
        case_of(&basic("User:canary-password"), UNKNOWN),
        case_of(&basic("user:canary-password\0"), UNKNOWN),
    ];
    judge(&gate, "default/unico", &cases).await;
    neighbour.leave();
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_in_its_header_alone() {
    let stage = stage().await;
    let gate = start(&stage);
    let (name, value) = API_KEY;
    let cases = [
        case(&[API_KEY], None),
        case(&[("x-api-key", &format!(" {value}\t"))], None),
        case(&[], NONE),
        case(&[("Authorization", value)], NONE),
        case(&[("X_API_Key", value)], NONE),
        case(&[API_KEY, API_KEY], TWICE),
        case(&[API_KEY, (name, "another-key")], TWICE),
        case(&[(name, "")], MALFORMED),
        case(&[(name, &value[1..])], UNKNOWN),
        case(&[(name, &format!("{value}x"))], UNKNOWN),
        case(&[(name, &value.to_uppercase())], UNKNOWN),
        case(&[(name, "X-API-Key:canary-api-key")], UNKNOWN),
    ];
    judge(&gate, "default/keyed", &cases).await;
    let (name, value) = TOKEN;
    let cases = [
        case(&[TOKEN], None),
        case(&[], NONE),
        case(&[("Authorization", value)], NONE),
        case(&[("X-API-Key", value)], NONE),
        case(&[TOKEN, TOKEN], TWICE),
        case(&[(name, "")], MALFORMED),
        case(&[(name, &format!("Bearer {value}"))], UNKNOWN),
        case(&[(name, &format!("{value}, {value}"))], UNKNOWN),
        case(&[(name, &value[..value.len() - 1])], UNKNOWN),
        // What opens another receiver opens this one no door.
        case(&[(name, API_KEY.1)], UNKNOWN),
    ];
    judge(&gate, "default/pulpo", &cases).await;
    gate.stop();
}

fn signature(secret: &str, body: &[u8]) -> String {
    let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_that_of_this_body_and_whole() {
    let stage = stage().await;
    let gate = start(&stage);
    let neighbour = Neighbour::of(&gate);
    let genuine = signature(SECRET, BODY);
    // Made by Python's hmac module, and not with what is tested.
    assert_eq!(genuine, "ea3c8c59cd9d459fcdd3cea884595ecedb0533e2f4ba40779db8e067888723f7");
    let of = |value: &str, refused| case(&[("signature", value)], refused);
    let cases = [
        of(&genuine, None),
        of(&genuine.to_uppercase(), None),
        case(&[], NONE),
        case(&[("X-Signature", &genuine)], NONE),
        case(&[("signature", &genuine), ("signature", &genuine)], TWICE),
        case(&[("signature", &signature("another-secret", BODY)), ("signature", &genuine)], TWICE),
        of("", MALFORMED),
        of(&genuine[..63], MALFORMED),
        of(&genuine[..62], MALFORMED),
        of(&format!("{genuine}00"), MALFORMED),
        of(&format!("sha256={genuine}"), MALFORMED),
        of(&format!("{genuine}, {genuine}"), MALFORMED),
        of(&"z".repeat(64), MALFORMED),
        of(&STANDARD.encode(sign(&Key::new(HMAC_SHA256, SECRET.as_bytes()), BODY)), MALFORMED),
        of(&signature(SECRET, b"another body"), UNKNOWN),
        of(&signature(SECRET, &[BODY, b"\n"].concat()), UNKNOWN),
        of(&signature(SECRET, b""), UNKNOWN),
        of(&signature("another-secret", BODY), UNKNOWN),
        of(&signature("", BODY), UNKNOWN),
        of(&"0".repeat(64), UNKNOWN),
    ];
    judge(&gate, "default/qualp", &cases).await;
    neighbour.leave();
    gate.stop();
}
