//! The fuzz targets with inputs from a generator that begins with good texts and spoils them.
//!
//! It is the same in every run. `FUZZ_SECONDS=120 cargo test --test it fuzz::` goes on with others
//! for as long; guided by coverage they run as `tests/fuzz/README.md` says.

#[path = "../fuzz/targets/destination.rs"]
mod destination;
mod gate;
#[path = "../fuzz/targets/manifest.rs"]
mod manifest;
#[path = "../fuzz/targets/template.rs"]
mod template;
#[path = "../fuzz/targets/token_answer.rs"]
mod token_answer;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use hookkeeper::provider::Template;

use super::in_repository;

/// Longest input, as libFuzzer has it.
const LONGEST: usize = 4_096;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A seed with some changes, words of the dictionary among them.
    fn spoiled(&mut self, seeds: &[&str], words: &[&str]) -> Vec<u8> {
        let mut bytes = self.pick(seeds).as_bytes().to_vec();
        for _ in 0..=self.below(6) {
            let (one, other) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
            let (from, to) = (one.min(other), one.max(other).min(one.min(other) + 64));
            match self.below(7) {
                0 => drop(bytes.drain(from..to)),
                1 => drop(bytes.splice(from..from, self.pick(words).bytes())),
                2 => drop(bytes.splice(from..to, self.pick(words).bytes())),
                3 => {
                    let copy = bytes[from..to].repeat(1 + self.below(8));
                    drop(bytes.splice(from..from, copy));
                }
                4 if from < bytes.len() => bytes[from] ^= 1 << self.below(8),
                5 => bytes.insert(from, u8::try_from(self.below(256)).unwrap()),
                _ => {
                    let tail = self.pick(seeds);
                    bytes.truncate(from);
                    bytes.extend(tail.bytes().skip(self.below(tail.len())));
                }
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }
}

/// Runs a target with so many inputs; what makes it panic is shown.
#[expect(clippy::print_stdout, reason = "how far it came, for whoever asked for more")]
fn fuzz<Input: std::fmt::Debug>(
    inputs: usize,
    mut input: impl FnMut(&mut Random) -> Input,
    target: impl Fn(&Input),
) {
    let asked = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (begun, limit) = (Instant::now(), asked.map(Duration::from_secs));
    let mut random = Random(1);
    let mut count = 0_usize;
    while limit.map_or(count < inputs, |limit| begun.elapsed() < limit) {
        count += 1;
        let input = input(&mut random);
        let result = catch_unwind(AssertUnwindSafe(|| target(&input)));
        assert!(result.is_ok(), "input {count}: {input:?}");
    }
    println!("{count} inputs");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn manifests() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let preset = fs::read_to_string(in_repository("src/provider/presets/gupy.yaml")).unwrap();
    let mut seeds: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    seeds.extend([
        preset.as_str(),
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":"b"},"data":{"c":"ZA=="}}"#,
        "apiVersion: v1\nkind: List\nitems: [{a: &a [1], b: *a}]\n",
    ]);
    let words = [
        "\n---\n",
        "&a ",
        "*a",
        "<<: *a",
        "!!binary ",
        "!t ",
        "? ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "|2-\n",
        ">+\n",
        "\"",
        "'",
        "\\u0000",
        "\u{feff}",
        "\r\n",
        "\t",
        "null",
        "~",
        "true",
        "1e400",
        "-1",
        "0x7f",
        ".nan",
        "2026-11-21",
        "metadata:",
        "spec:",
        "name:",
        "kind: Secret",
        "renewBefore: 99999999999999h",
        "é",
        "%YAML 1.2\n",
        "#",
        "\0",
    ];
    fuzz(1_500, |random| text(&random.spoiled(&seeds, &words)), |input| manifest::run(input));
}

#[test]
fn templates() {
    let seeds = [
        "{action}",
        "{active|choose(active,inactive)}",
        "/api/v1/webhooks/{id}",
        "{headers}",
        "Bearer {token|base64}",
        "{parameters.owner}",
        "{parameters|json|base64}",
        "{{literal}} {headers.X-Key}",
        "{headers|pairs(name,value)}",
    ];
    for seed in seeds {
        assert!(Template::parse(seed).is_ok(), "only a good text can be spoiled: {seed}");
    }
    let words = [
        "{",
        "}",
        "{{",
        "}}",
        "|",
        "(",
        ")",
        ",",
        ".",
        "choose(",
        "base64",
        "pairs(",
        "json",
        "\\",
        "\"",
        " ",
        "é",
        "\0",
        "\u{202e}",
        "{token}",
        "{parameters.",
        "'",
    ];
    fuzz(20_000, |random| text(&random.spoiled(&seeds, &words)), |input| template::run(input));
}

#[test]
fn destinations() {
    let entries = [
        "http://127.0.0.1:8480",
        "10.0.0.0/8",
        "[fd00::]/8",
        "example.com",
        "http://*.example.com:80",
        "https://[::1]:1",
        "fd00::/8:443",
        "0/0",
        "300.1.1.1/40",
    ];
    let urls = [
        "https://example.com/a?b=c",
        "http://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
        "http://user:word@host:80/",
        "ftp://10.0.0.1/",
        "https://xn--bcher-kva.example:443",
        "HTTP://[fe80::1%25eth0]/",
        "https://1.2.3.4.:65535/#f",
    ];
    let words = [
        "http://",
        "https://",
        "[",
        "]",
        ":",
        "/",
        "/0",
        "/129",
        "::",
        ".",
        "0x",
        "%00",
        "@",
        "*",
        "127.0.0.1",
        "é",
        "\\",
        "0",
        "99999",
        "-",
        " ",
        "\t",
        "。",
        "①",
    ];
    fuzz(
        20_000,
        |random| (text(&random.spoiled(&entries, &words)), text(&random.spoiled(&urls, &words))),
        |(entry, url)| destination::run(entry, url),
    );
}

#[test]
fn answers_of_token_servers() {
    let seeds = [
        r#"{"access_token":"canary-a","token_type":"Bearer","expires_in":3600}"#,
        r#"{"accessToken":"canary-a","expiresIn":"3600"}"#,
        r#"{"data":{"token":"canary-a","life":60.5}}"#,
        r#"{"data":[{"token":"canary-a","end":"2027-01-15T09:00:00+01:00"}]}"#,
        r#"{"data":[{"token":"canary-a","end":1800003600000}]}"#,
        r#"{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjE4MDAwMDM2MDB9.","token_type":"Bearer"}"#,
        "canary-a",
        "\u{feff}{\"access_token\":\"canary-a\",\"expires_at\":\"Fri, 15 Jan 2027 09:00:00 GMT\"}",
        "<!doctype html><title>Login</title>",
        "",
    ];
    let words = [
        "9e12",
        "1e400",
        "-1",
        "0",
        "null",
        "true",
        "\"\"",
        "1800000000",
        "1800000000000",
        "0.0001",
        "\\r\\n",
        "\\u0000",
        "\\ud83d\\ude00",
        "[",
        "[[[[[[[[",
        "{",
        "}",
        "]",
        ",",
        ":",
        "\"",
        "\u{feff}",
        "18446744073709551616",
        "\"9999-12-31T23:59:60Z\"",
        "expires_in",
        "expires_at",
        "access_token",
        "eyJleHAiOjl9",
        ".",
        "\u{0}",
    ];
    fuzz(
        400,
        |random| (u8::try_from(random.below(4)).unwrap(), random.spoiled(&seeds, &words)),
        |(rules, body)| token_answer::run(*rules, body),
    );
}
