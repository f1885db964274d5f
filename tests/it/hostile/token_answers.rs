//! Answers of token servers: those that nobody should give, and good ones in odd forms.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::server::{Behaviour, CANARY, Server, answer, json};
use super::stage::{HEALTHY, Stage, subscription_from};

/// A subscription with a source of its own, at `/NAME` of the server.
fn subscription(name: &str, port: u16) -> String {
    subscription_from(name, &format!("http://127.0.0.1:{port}/{name}"))
}

const UNAVAILABLE: &str = "TokenSourceUnavailable";
const EXPIRED: &str = "TokenExpiredOnArrival";

/// How many kinds of bad answers there are.
const BAD_ANSWERS: usize = 60;

/// Each with the reason and the advice that people must find.
fn bad_answers() -> Vec<(&'static str, Behaviour, &'static str, &'static str)> {
    let token = |rest: &str| json(format!(r#"{{"access_token":"{CANARY}"{rest}}}"#));
    let odd_token = |text: &str| json(format!(r#"{{"access_token":"{CANARY}{text}","expires_in":60}}"#));
    let ok = |more: &str| format!("HTTP/1.1 200 OK\r\nX-Canary: {CANARY}\r\n{more}\r\n").into_bytes();
    let chunked_head = ok("Transfer-Encoding: chunked\r\n");
    let chunked = |size: &str| Behaviour::Bytes([&chunked_head, size.as_bytes()].concat());
    let (settings, ping) =
        (vec![0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 8, 6, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
    let deep = |open: &str| open.repeat(100_000);
    let past = (Utc::now() - TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let in_past = format!(r#","expires_at":"{past}""#);
    let in_past_ms = format!(r#","expires_at":{}"#, (Utc::now() - TimeDelta::hours(1)).timestamp_millis());
    let gone_jwt = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":1,"sub":"{CANARY}"}}"#));
    let wide = format!(r#"{{"access_token":"{CANARY}","x":[{}0]}}"#, r#"{"a":0},"#.repeat(125_000));
    let redirect = |status: &str, to: &str| {
        answer(&format!("{status}\r\nLocation: {to}?{CANARY}"), format!(r#"{{"access_token":"{CANARY}"}}"#))
    };
    let (page, empty) = (format!("<!DOCTYPE html><title>{CANARY}</title>"), Vec::new());
    let is_json = "check that oauth2.tokenUrl is the token endpoint";
    let as_http = "describe the source as http with response.";
    let lasting = "if that goes on, check the token source's URL and its server";
    let large = "larger than 1 MiB; check that the URL is the token endpoint";
    let header = "cannot stand in a header; check what issues it";
    let clock = "check the token server's clock and what it answers as expiry";
    let life = "set assumedLifetime on the token source";
    let uncompressed = "have the server send it uncompressed";
    vec![
        ("html", answer("200 OK\r\nContent-Type: text/html", page), UNAVAILABLE, is_json),
        ("empty", json(""), UNAVAILABLE, is_json),
        ("no-content", Behaviour::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".into()), UNAVAILABLE, is_json),
        ("ten-mebibytes", json(vec![b' '; 10 << 20]), UNAVAILABLE, large),
        ("endless", Behaviour::Endless(ok(""), CANARY.repeat(99).into_bytes()), UNAVAILABLE, large),
        ("dripping-body", Behaviour::Drip(ok("Content-Length: 99999\r\n")), UNAVAILABLE, lasting),
        ("dripping-head", Behaviour::Drip(b"HTTP/1.1 200 OK\r\nX-Canary: ".into()), UNAVAILABLE, lasting),
        (
            "flood-of-headers",
            Behaviour::Bytes(ok(&format!("X: {CANARY}\r\n").repeat(9999))),
            UNAVAILABLE,
            lasting,
        ),
        (
            "endless-header",
            Behaviour::Endless(b"HTTP/1.1 200 OK\r\nX: ".into(), CANARY.repeat(99).into_bytes()),
            UNAVAILABLE,
            lasting,
        ),
        (
            "interim-answers-without-end",
            Behaviour::Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(99)),
            UNAVAILABLE,
            lasting,
        ),
        // SETTINGS and PING.
        ("frames-of-http-2", Behaviour::Endless(settings, ping.repeat(99)), UNAVAILABLE, lasting),
        (
            "two-lengths",
            Behaviour::Bytes(ok("Content-Length: 9\r\nContent-Length: 8\r\n")),
            UNAVAILABLE,
            lasting,
        ),
        ("length-below-zero", Behaviour::Bytes(ok("Content-Length: -1\r\n")), UNAVAILABLE, lasting),
        ("chunk-beyond-numbers", chunked("fffffffffffffffff\r\n"), UNAVAILABLE, lasting),
        ("chunk-without-size", chunked("x\r\n"), UNAVAILABLE, lasting),
        (
            "endless-chunk-extension",
            Behaviour::Endless(chunked_head, b"1;x".repeat(99)),
            UNAVAILABLE,
            lasting,
        ),
        ("silent", Behaviour::Silent(empty.clone()), UNAVAILABLE, lasting),
        ("silent-after-head", Behaviour::Silent(ok("Content-Length: 9\r\n")), UNAVAILABLE, lasting),
        ("closed", Behaviour::Bytes(empty), UNAVAILABLE, lasting),
        ("garbage", Behaviour::Bytes(format!("\0\u{1}\u{2}{CANARY}\r\n\r\n").into()), UNAVAILABLE, lasting),
        ("garbage-body", json([&[0xff, 0xfe, 0], CANARY.as_bytes()].concat()), UNAVAILABLE, is_json),
        (
            "truncated",
            Behaviour::Bytes(
                [ok("Content-Length: 99\r\n"), format!(r#"{{"access_token":"{CANARY}"#).into()].concat(),
            ),
            UNAVAILABLE,
            lasting,
        ),
        ("half-a-document", json(format!(r#"{{"access_token":"{CANARY}""#)), UNAVAILABLE, is_json),
        ("deep-lists", json(deep("[")), UNAVAILABLE, is_json),
        ("deep-objects", json(deep(r#"{"a":"#)), UNAVAILABLE, is_json),
        ("wide", json(wide), UNAVAILABLE, is_json),
        ("gzip-bomb", gzip(&vec![b' '; 64 << 20]), UNAVAILABLE, large),
        ("gzip-and-is-none", json_with("Content-Encoding: gzip", answer_body()), UNAVAILABLE, uncompressed),
        ("brotli", json_with("Content-Encoding: br", answer_body()), UNAVAILABLE, uncompressed),
        ("redirect", redirect("302 Found", "/good"), UNAVAILABLE, "correct the token source's URL"),
        (
            "redirect-elsewhere",
            redirect("307 Temporary Redirect", "http://127.0.0.1:9/"),
            UNAVAILABLE,
            "correct the token source's URL",
        ),
        (
            "not-modified",
            redirect("304 Not Modified", "/good"),
            UNAVAILABLE,
            "correct the token source's URL",
        ),
        ("no-expiry", token(""), "LifetimeUnknown", life),
        ("null-expiry", token(r#","expires_in":null"#), "LifetimeUnknown", life),
        ("past", token(&in_past), EXPIRED, clock),
        ("past-ms", token(&in_past_ms), EXPIRED, clock),
        ("zero", token(r#","expires_in":0"#), EXPIRED, life),
        ("expiry-negative", token(r#","expires_in":-3600"#), EXPIRED, life),
        ("zero-time", token(r#","expires_at":"0001-01-01T00:00:00Z""#), EXPIRED, life),
        ("ended-jwt", json(format!(r#"{{"access_token":"e30.{gone_jwt}.c2ln"}}"#)), EXPIRED, clock),
        ("expiry-word", token(&format!(r#","expires_in":"{CANARY}""#)), UNAVAILABLE, as_http),
        ("expiry-boolean", token(r#","expires_in":true"#), UNAVAILABLE, as_http),
        ("expiry-1e400", token(r#","expires_in":1e400"#), UNAVAILABLE, is_json),
        ("expiry-1e400-text", token(r#","expires_in":"1e400""#), UNAVAILABLE, as_http),
        ("expiry-local-time", token(r#","expires_at":"2030-01-01T00:00:00""#), UNAVAILABLE, as_http),
        ("token-crlf", odd_token(r"\r\nX-Injected: 1"), UNAVAILABLE, header),
        ("token-nul", odd_token(r"\u0000"), UNAVAILABLE, header),
        ("token-emoji", odd_token("\u{1f511}"), UNAVAILABLE, header),
        ("token-lines", odd_token(r"\n  x"), UNAVAILABLE, header),
        ("token-400-kilobytes", odd_token(&"x".repeat(400_000)), UNAVAILABLE, "too large for a header"),
        ("token-empty", json(r#"{"access_token":"","expires_in":60}"#), UNAVAILABLE, "check what issues it"),
        ("token-number", json(r#"{"access_token":7,"expires_in":60}"#), UNAVAILABLE, as_http),
        (
            "token-twice",
            json(format!(r#"{{"access_token":"{CANARY}","access_token":7,"expires_in":60}}"#)),
            UNAVAILABLE,
            as_http,
        ),
        ("no-token", json(format!(r#"{{"key":"{CANARY}"}}"#)), UNAVAILABLE, as_http),
        (
            "error-in-success",
            json(format!(r#"{{"error":"invalid_client","error_description":"{CANARY}"}}"#)),
            "TokenSourceRefused",
            "set oauth2.clientAuthentication: Post",
        ),
        (
            "error-of-its-own",
            json(format!(r#"{{"error":{{"message":"{CANARY}"}}}}"#)),
            "TokenSourceRefused",
            "look into the token server's log",
        ),
        (
            "refused",
            answer("401 Unauthorized", CANARY),
            "TokenSourceRefused",
            "check the client's id, its secret",
        ),
        ("not-found", answer("404 Not Found", CANARY), "TokenSourceRefused", "token server's documentation"),
        ("too-many", answer("429 Too Many Requests", CANARY), "RateLimited", "mints of this source pause"),
        ("broken", answer("500 Oops", CANARY), UNAVAILABLE, lasting),
    ]
}

fn answer_body() -> Vec<u8> {
    format!(r#"{{"access_token":"{CANARY}","expires_in":60}}"#).into()
}

/// An answer that is compressed although the request said not to.
fn gzip(content: &[u8]) -> Behaviour {
    let mut child = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&content).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    json_with("Content-Encoding: gzip", output.stdout)
}

fn json_with(header: &str, body: impl AsRef<[u8]>) -> Behaviour {
    answer(&format!("200 OK\r\nContent-Type: application/json\r\n{header}"), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_answer_is_explained_and_harms_nobody() {
    let cases = bad_answers();
    assert_eq!(cases.len(), BAD_ANSWERS, "how many there are stands in one place");
    let answers: BTreeMap<String, Behaviour> =
        cases.iter().map(|(name, behaviour, ..)| (format!("/{name}"), behaviour.clone())).collect();
    assert_eq!(answers.len(), cases.len(), "each has a name of its own");
    let good = json(answer_body());
    let server = Server::start(move |asked| answers.get(&asked.path).unwrap_or(&good).clone()).await;
    let stage = Stage::start().await;
    let manifests: String = cases.iter().map(|(name, ..)| subscription(name, server.port())).collect();
    stage.write("40-hostile.yaml", manifests);
    let destination = format!("http://127.0.0.1:{}", server.port());
    let mut sidecar = stage.sidecar(&[&destination], |_| {});

    stage.until_explained(cases.iter().map(|(name, _, reason, _)| (*name, *reason))).await;
    let before = stage.ledger();
    // All of them are asked again and again meanwhile.
    let asked = server.connections() + cases.len();
    stage.until("they are asked again", |_| server.connections() > asked).await;
    stage.until_rotated(before.rotations / HEALTHY + 2).await;

    for (name, _, reason, advice) in &cases {
        let said = stage.trouble(name);
        assert_eq!(said.reason, *reason, "{name}: {said:?}");
        assert!(said.message.contains(advice), "{name}: {said:?}");
        assert!(said.message.len() < 400, "{name}: {said:?}");
        assert_eq!(stage.status("WebhookSubscription", name)["webhookId"], Value::Null, "{name}");
    }
    stage.assert_unseen(CANARY);
    stage.assert_withstood(&mut sidecar);
}

/// What the life of a good answer's token counts from.
enum End {
    /// So long after the mint.
    In(TimeDelta),
    /// A moment.
    At(DateTime<Utc>),
}

/// Each with its token in, and when that token expires.
fn good_answers(end: DateTime<Utc>) -> Vec<(&'static str, Behaviour, End)> {
    let hour = || End::In(TimeDelta::hours(1));
    let at = || End::At(end);
    let offset = FixedOffset::west_opt(3 * 3600).unwrap();
    let rfc3339 = end.with_timezone(&offset).to_rfc3339();
    let (s, ms) = (end.timestamp(), end.timestamp_millis());
    let jwt = |name: &str| {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{s},"sub":"{name}"}}"#));
        format!("e30.{claims}.c2ln")
    };
    vec![
        ("usual", json(r#"{"access_token":"good-usual","token_type":"Bearer","expires_in":3600}"#), hour()),
        ("camel-case", json(r#"{"accessToken":"good-camel-case","expiresIn":3600,"tokenType":"Bearer"}"#), hour()),
        ("number-as-text", json(r#"{"token":"good-number-as-text","expires_in":"3600"}"#), hour()),
        ("float", json(r#"{"token":"good-float","expires_in":3600.0}"#), hour()),
        ("exponent", json(r#"{"token":"good-exponent","expires_in":3.6e3}"#), hour()),
        ("for-ever", json(r#"{"token":"good-for-ever","expires_in":9e12}"#), End::In(TimeDelta::days(400))),
        ("offset", json(format!(r#"{{"token":"good-offset","expires_at":"{rfc3339}"}}"#)), at()),
        ("epoch-s", json(format!(r#"{{"token":"good-epoch-s","expires_at":{s}}}"#)), at()),
        ("epoch-ms", json(format!(r#"{{"token":"good-epoch-ms","expiresAt":{ms}}}"#)), at()),
        ("epoch-as-text", json(format!(r#"{{"token":"good-epoch-as-text","expiresAt":"{ms}"}}"#)), at()),
        ("bom", json("\u{feff}{\"token\":\"good-bom\",\"expires_in\":3600}"), hour()),
        ("text-plain", answer("200 OK\r\nContent-Type: text/plain", r#"{"token":"good-text-plain","expires_in":3600}"#), hour()),
        ("no-type", answer("200 OK", r#"{"token":"good-no-type","expires_in":3600}"#), hour()),
        ("created", answer("201 Created", r#"{"token":"good-created","expires_in":3600}"#), hour()),
        ("null-first", json(r#"{"access_token":null,"token":"good-null-first","expires_in":null,"expiresIn":3600}"#), hour()),
        ("jwt", json(format!(r#"{{"access_token":"{}"}}"#, jwt("jwt"))), at()),
        ("identity", json_with("Content-Encoding: identity", r#"{"token":"good-identity","expires_in":3600}"#), hour()),
        ("gzip", gzip(br#"{"token":"good-gzip","expires_in":3600}"#), hour()),
        ("scheme", json(r#"{"token":"Bearer good-scheme","expires_in":3600}"#), hour()),
        (
            "unending",
            // The end of the connection is the end of the answer.
            Behaviour::Bytes(b"HTTP/1.0 200 OK\r\n\r\n{\"token\":\"good-unending\",\"expires_in\":3600}".into()),
            hour(),
        ),
        (
            "chunked",
            Behaviour::Bytes(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"token\":\r\n22\r\n\"good-chunked\",\"expires_in\":3600 }\r\n0\r\n\r\n"
                    .into(),
            ),
            hour(),
        ),
        (
            "clock-ahead",
            // The server's clock is a day ahead of ours, and so is the end it names.
            json_with(
                &format!("Date: {}", (Utc::now() + TimeDelta::days(1)).format("%a, %d %b %Y %H:%M:%S GMT")),
                format!(r#"{{"token":"good-clock-ahead","expires_at":{}}}"#, (Utc::now() + TimeDelta::hours(25)).timestamp()),
            ),
            hour(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_answer_in_an_odd_form_needs_no_setting() {
    let end = Utc::now() + TimeDelta::minutes(90);
    let cases = good_answers(end);
    let answers: BTreeMap<String, Behaviour> =
        cases.iter().map(|(name, behaviour, _)| (format!("/{name}"), behaviour.clone())).collect();
    let server = Server::start(move |asked| answers[&asked.path].clone()).await;
    // What comes with deliveries is what the platform holds.
    let delivered = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&delivered);
    let receiver = Server::start(move |asked| {
        kept.lock().unwrap().push_str(&asked.whole);
        answer("200 OK", "")
    })
    .await;
    let to = format!("http://127.0.0.1:{}/", receiver.port());
    let stage = Stage::start_with(|config| {
        config.deliver_to = Some(to.parse().unwrap());
        config.delivery_interval = Some(Duration::from_millis(500));
    })
    .await;
    let manifests: String = cases.iter().map(|(name, ..)| subscription(name, server.port())).collect();
    stage.write("40-odd.yaml", manifests);
    let destination = format!("http://127.0.0.1:{}", server.port());
    let _sidecar = stage.sidecar(&[&destination], |_| {});

    let all = HEALTHY + cases.len() as u64;
    stage.until("each is created", |stage| stage.ledger().creates == all).await;
    for (name, _, end) in &cases {
        let id = |stage: &Stage| stage.status("WebhookSubscription", name)["webhookId"].is_string();
        stage.until(name, id).await;
        let status = stage.status("WebhookSubscription", name);
        let time = |field: &str| -> DateTime<Utc> { status[field].as_str().unwrap().parse().unwrap() };
        let expected = match end {
            End::In(life) => time("tokenMintedTime") + *life,
            End::At(moment) => *moment,
        };
        // Sources and statuses round to seconds, and an end is counted from the request.
        let off = (time("tokenExpirationTime") - expected).abs();
        assert!(off <= TimeDelta::seconds(3), "{name}: {status:#}");
        assert_eq!(stage.condition("WebhookSubscription", name, "Ready").status, "True", "{name}");
        let carries = |_: &Stage| {
            let seen = delivered.lock().unwrap();
            seen.contains(&format!("token: good-{name}\r\n"))
                || *name == "jwt" && seen.contains("token: e30.")
                || *name == "scheme" && seen.contains("token: Bearer good-scheme\r\n")
        };
        stage.until(name, carries).await;
    }
    stage.assert_unseen("good-");
    stage.assert_healthy_undisturbed();
}
