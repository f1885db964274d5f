//! No secret in anything that people or other programs get to see.
//!
//! Every process of the suite is started by `process`, which looks through its output, its state
//! file and its admin server; the world in memory looks through what is recorded, told and logged.
//! So a new test is watched without a word of its own.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hookkeeper::sandbox::{TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN, TRIAL_TOKEN_PREFIX};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::Level;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::in_repository;

/// What a secret that a test makes up begins with.
pub const CANARY: &str = "canary-";

/// How the JSON Web Tokens of real token servers begin.
const JSON_WEB_TOKEN: &str = "eyJhbGciOi";

/// A shorter value stands in other texts by chance.
const SHORTEST: usize = 6;

/// What must not be seen, in all the forms in which it travels.
pub struct Canaries(BTreeSet<String>);

impl Default for Canaries {
    fn default() -> Self {
        let mut canaries = Self(BTreeSet::new());
        for secret in
            [CANARY, JSON_WEB_TOKEN, TRIAL_TOKEN_PREFIX, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN]
        {
            canaries.add(secret);
        }
        canaries
    }
}

impl Canaries {
    /// One more secret.
    pub fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < SHORTEST {
            return;
        }
        let json = serde_json::to_string(secret).unwrap();
        let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
        self.0.extend([
            secret.to_owned(),
            json[1..json.len() - 1].to_owned(),
            secret.escape_debug().to_string(),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
            bytes.join(", "),
        ]);
        self.0.extend(in_base64(secret));
    }

    /// Every Secret in a folder of manifests. What cannot be read holds nothing that could be used.
    pub fn add_manifests(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Some(text) = read(&entry.path()) else { continue };
            for document in hookkeeper::api::manifest::read(&text).into_iter().flatten() {
                if let hookkeeper::api::manifest::Manifest::Secret { data, .. } = document.manifest {
                    data.values().for_each(|value| self.add(value.expose()));
                }
            }
        }
    }

    /// Every file in a folder of Secrets and in its folders.
    pub fn add_files(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                self.add_files(&entry.path());
            } else if let Some(text) = read(&entry.path()) {
                self.add(&text);
            }
        }
    }

    /// The tokens in a folder to publish into; the other keys are no secrets.
    pub fn add_published(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            for key in ["current", "previous"] {
                self.add(&fs::read_to_string(entry.path().join(key)).unwrap_or_default());
            }
        }
    }

    /// The words around a secret, if one is in the text.
    pub fn found_in(&self, text: &str) -> Option<String> {
        let lower = text.to_lowercase();
        let (canary, at) = self.0.iter().find_map(|canary| {
            let at = lower.find(&canary.to_lowercase())?;
            Some((canary, at))
        })?;
        let around: String =
            lower.chars().skip(lower[..at].chars().count().saturating_sub(200)).take(400).collect();
        Some(format!("`{canary}` in: {around}"))
    }
}

/// What may have been read of a file: the process reads none that is larger, or has no end.
fn read(path: &Path) -> Option<String> {
    const LARGEST: u64 = 8 << 20;
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= LARGEST).then(|| fs::read_to_string(path).ok())?
}

/// What stands in any base64 text of which the secret is a part, wherever in it that part begins.
fn in_base64(secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for before in 0..3 {
        let bytes = [&b"\0\0"[..before], secret.as_bytes()].concat();
        // The characters that no neighbour has a share in.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        found.push(STANDARD_NO_PAD.encode(&bytes)[first..end].to_owned());
        found.push(URL_SAFE_NO_PAD.encode(&bytes)[first..end].to_owned());
    }
    found
}

thread_local! {
    /// The world in memory works in one thread: what is found here was found in this thread's test.
    static FOUND: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static CANARIES: Canaries = Canaries::default();
}

/// Looks through what the world in memory shows. Panics nowhere: the engine survives a panic.
pub fn look(what: &str, text: impl FnOnce() -> String) {
    // At the end of a thread there is no test left to blame.
    let _ = CANARIES.try_with(|canaries| {
        if let Some(found) = canaries.found_in(&text()) {
            FOUND.with_borrow_mut(|all| all.push(format!("a secret in {what}: {found}")));
        }
    });
}

/// Something else that must not be, to be told at the end of the test.
pub fn fault(what: String) {
    FOUND.with_borrow_mut(|all| all.push(what));
}

/// Fails the test of whoever made it, at its end. A clone is somebody else's and fails nothing.
#[derive(Default)]
pub struct Watched {
    clone: bool,
}

impl Clone for Watched {
    fn clone(&self) -> Self {
        Self { clone: true }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.clone {
            return;
        }
        let found = FOUND.take();
        if !std::thread::panicking() {
            assert_eq!(found, Vec::<String>::new());
        }
    }
}

/// Has every line of ours looked through, at every level. With `RUST_LOG` set, a failing test also
/// tells what the engine did.
pub fn watch_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let lines = tracing_subscriber::fmt::layer().with_test_writer().with_filter(filter);
    let ours = tracing_subscriber::filter::Targets::new().with_target("hookkeeper", Level::TRACE);
    let watched = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| LogWatch);
    drop(tracing_subscriber::registry().with(lines).with(watched.with_filter(ours)).try_init());
}

/// Looks through log lines instead of writing them.
struct LogWatch;

impl io::Write for LogWatch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        look("a log line", || String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_secret_is_found_in_every_form_it_travels_in() {
    let mut canaries = Canaries::default();
    canaries.add("pass \"word\"/é");
    for shown in [
        r#"the header token: canary-token-7"#.to_owned(),
        "CANARY-TOKEN-7".to_owned(),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("id:canary-1")),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("an-id:canary-1")),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("the-id:canary-1")),
        format!("{:?}", b"canary-"),
        format!("{:?}", b"canary-".to_vec()),
        "63616e6172792d".to_owned(),
        "pass+%22word%22%2F%C3%A9".to_owned(),
        "pass%20%22word%22%2F%C3%A9".to_owned(),
        r#"{"message":"pass \"word\"/é"}"#.to_owned(),
        format!("{TRIAL_TOKEN_PREFIX}abc"),
    ] {
        assert!(canaries.found_in(&shown).is_some(), "{shown}");
    }
    assert_eq!(canaries.found_in("a token is in place fingerprint=9f3ac1d27be0114c"), None);
}

#[test]
fn every_process_of_the_suite_is_watched() {
    let mut starters = Vec::new();
    for entry in fs::read_dir(in_repository("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        let starts = |text: String| text.contains(concat!("CARGO_BIN_EXE", "_hookkeeper"));
        if path.is_file() && starts(fs::read_to_string(&path).unwrap()) {
            starters.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    assert_eq!(starters, ["process.rs"], "start it with `hookkeeper()`");
}
