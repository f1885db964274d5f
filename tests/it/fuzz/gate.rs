//! What reads deliveries.

#[path = "../../fuzz/targets/delivery_headers.rs"]
mod delivery_headers;
#[path = "../../fuzz/targets/event_key.rs"]
mod event_key;
#[path = "../../fuzz/targets/header_block.rs"]
mod header_block;
#[path = "../../fuzz/targets/verification.rs"]
mod verification;

use super::fuzz;

#[test]
fn credentials_and_signatures() {
    use verification::{
        BASIC_ENCODED, HMAC_BASE64, HMAC_HEX, SIGNED, STANDARD_ID, STANDARD_SIGNATURE, STANDARD_TIME, TOKEN,
    };
    let standard = format!(
        "webhook-id: {STANDARD_ID}\nwebhook-timestamp: {STANDARD_TIME}\nwebhook-signature: {STANDARD_SIGNATURE}"
    );
    let seeds = [
        format!("Authorization: Bearer {TOKEN}"),
        format!("authorization: bearer  {TOKEN}"),
        format!("Credential: {TOKEN}"),
        format!("Authorization: Basic {BASIC_ENCODED}="),
        format!("Credential: sha256={HMAC_HEX}"),
        format!("Credential: {HMAC_BASE64}"),
        standard,
    ];
    for (kind, seed) in (0_u8..).zip(&seeds) {
        let passes = verification::run(kind, seed.as_bytes(), SIGNED.as_bytes());
        assert!(passes, "only a good delivery can be spoiled: {seed}");
    }
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    let words = [
        "\n",
        "\nAuthorization: ",
        "\nCredential: ",
        "\nwebhook-signature: ",
        "Basic ",
        "Bearer ",
        "sha256=",
        "v1,",
        "v1a,",
        " ",
        "\t",
        ",",
        "=",
        "==",
        "-_",
        "+/",
        TOKEN,
        BASIC_ENCODED,
        HMAC_HEX,
        HMAC_BASE64,
        STANDARD_SIGNATURE,
        "9223372036854775807",
        "00",
        "é",
        "\0",
    ];
    let bodies = [SIGNED, SIGNED, "{\"test\": 2432232315}", ""];
    fuzz(
        20_000,
        |random| {
            let kind = u8::try_from(random.below(7)).unwrap();
            // Mostly the seed of the same kind: others are refused for the first thing that they lack.
            let start =
                if random.below(4) == 0 { &seeds[..] } else { &seeds[usize::from(kind)..=usize::from(kind)] };
            let block = random.spoiled(start, &words);
            let body = if random.below(2) == 0 {
                random.pick(&bodies).as_bytes().to_vec()
            } else {
                random.spoiled(&bodies, &words)
            };
            (kind, block, body)
        },
        |(kind, block, body)| {
            verification::run(*kind, block, body);
        },
    );
}

#[test]
fn bodies_and_what_they_are_known_again_by() {
    let seeds = [
        r#"{"id":"24e99765","event":"candidate.hired","date":"2019-06-19T23:48:46.952Z","payload":[{"id":7}]}"#,
        r#"{"payload":[{"id":"\u00e9"},{"id":1}],"id":"a/b","status":3,"event":"SampleEvent"}"#,
        r#"{"status":"3","id":1e400,"payload":[{"x":{},"id":"y"}]}"#,
        r#"{"id":{"id":1},"id":"last","payload":[[],{}],"payload":[{"id":"z"}]}"#,
        r#"{"id":"a","payload":[{"id":"z"}],"payload":[{}],"event":"E"}"#,
    ];
    assert!(event_key::run(seeds[0].as_bytes()), "only a good body can be spoiled");
    let words = [
        "\"id\":",
        "\"payload\":",
        "\"event\":\"SampleEvent\"",
        "\"status\":\"3\"",
        "{",
        "}",
        "[",
        "]",
        "[[[[[[[[",
        "{\"a\":",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0000",
        "\\ud83d",
        "\\ude00",
        "\\u0069d",
        "null",
        "true",
        "-0",
        "1e999",
        "18446744073709551616",
        "0.1",
        "\u{feff}",
        "é",
        "\u{202e}",
        "\0",
        "\n",
        " ",
    ];
    fuzz(
        20_000,
        |random| random.spoiled(&seeds, &words),
        |body| {
            event_key::run(body);
        },
    );
}

#[test]
fn headers_that_are_no_credential() {
    let seeds = [
        "X-Forwarded-For: 198.51.100.7, 203.0.113.1\nX-Forwarded-For: 10.1.1.1:80",
        "X-Forwarded-For: [2001:db8::1]:80, ::ffff:10.0.0.1, fd00::1, unknown",
        "Connection: keep-alive, X-Hop\nX-Hop: 1\nX-Webhook-Token: canary\nContent-Type: application/json",
        "Content-Type: text/plain; charset=\"utf-8\"\nHookkeeper-Subscription: hires\nTransfer-Encoding: chunked",
    ];
    let words = [
        "\n",
        "\nConnection: ",
        "\nX-Forwarded-For: ",
        "\nContent-Type: ",
        "Hookkeeper-Delivery: x",
        "close",
        "content-type",
        "x-webhook-token",
        ",",
        ",,",
        ";",
        ":",
        "[",
        "]",
        "::",
        "10.0.0.1",
        "127.0.0.1:99999",
        "fe80::1%eth0",
        "_",
        "\"",
        " ",
        "\t",
        "é",
        "\0",
    ];
    fuzz(20_000, |random| random.spoiled(&seeds, &words), |block| delivery_headers::run(block));
}
