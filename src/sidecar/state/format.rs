//! The state file's content, and what can be wrong with it.
//!
//! ```json
//! {"version":1,"writer":"hookkeeper 0.1.0","objects":{"WebhookSubscription":{"default/orders":{
//!   "uid":"…","generation":2,"specDigest":"…","valid":{"generation":2,"spec":{…}},"status":{…}}}}}
//! ```
//! The version rises only when an older release would misread the file. Additions within a version
//! are ignored by older releases: unknown fields of an entry are dropped at the entry's next write,
//! statuses and unknown kinds are carried along as they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::{
    Condition, ConditionStatus, ConditionType, Kind, ObjectKey, SubscriptionStatus, TokenSourceStatus,
    WebhookProviderStatus, WebhookReceiverStatus, crd::KINDS,
};
use crate::sidecar::durable::remedy;

/// The version this release writes, and the newest it reads.
pub const VERSION: u64 = 1;

/// Why the process must not start with this state file. The file was not touched.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process works with it.
    #[error(
        "another process works with the state file {}; a state file has one writer, so stop the other process or give this one a file of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be found, read or locked.
    #[error("the state file {} cannot be {doing}: {error}; {}", .path.display(), remedy(.error))]
    Inaccessible {
        /// The file.
        path: PathBuf,
        /// What was tried: `found`, `read`, `locked`.
        doing: &'static str,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// It was cut short or changed.
    #[error(
        "the state file {} is damaged ({problem}) and was left as it is; restore it from a backup, or move it away to start again (remote subscriptions are then found again only where adoptionPolicy is Matching)",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is damaged, without its content.
        problem: String,
    },
    /// It is JSON of something else, or no file at all.
    #[error(
        "{} is no state file of hookkeeper and was left as it is; name another file with --state",
        .0.display()
    )]
    Foreign(PathBuf),
    /// A later release wrote it.
    #[error(
        "the state file {} has version {version}, written by {writer}, and this release reads up to {VERSION}; start that release again, or a later one",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it has.
        version: u64,
        /// The release that wrote it, as it calls itself.
        writer: String,
    },
}

/// What is remembered, as the state file has it.
pub type Entries = BTreeMap<(Kind, ObjectKey), Entry>;

/// What is remembered of one object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Differs between an object and a later one of the same name.
    pub uid: String,
    /// Rises whenever the digest changes.
    pub generation: i64,
    /// Digest of what the manifest asked for last, valid or not.
    pub spec_digest: String,
    /// When the object was declared first, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
    /// Since when its manifest has been gone. It is remembered all the same: what it stands for has not
    /// ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<DateTime<Utc>>,
    /// Whether something must be done when the object is deleted.
    //
    // The name in the file is that of its first version: files outlive names in the code.
    #[serde(rename = "guarded", default, skip_serializing_if = "std::ops::Not::not")]
    pub has_finalizer: bool,
    /// The last valid spec: it stays in force while the manifest is broken or away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<ValidSpec>,
    /// The one before, until [`Self::valid`] has been found ready: that one may yet break a rule of
    /// the provider, which no manifest shows by itself, and then this one is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<ValidSpec>,
    /// The recorded status, in the form of the object's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<RawValue>>,
}

/// A spec that broke no rule, and the generation it had.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ValidSpec {
    /// The object's generation at that time.
    pub generation: i64,
    /// The spec, in the form of the object's kind.
    pub spec: Box<RawValue>,
}

impl Entry {
    /// What a successor with this valid spec falls back to.
    pub(super) fn fallback_of(self, valid: Option<&ValidSpec>) -> Option<ValidSpec> {
        let newest = valid.map(|valid| valid.generation);
        self.fallback.or(self.valid.filter(|before| newest.is_some_and(|newest| newest > before.generation)))
    }

    /// Lets go of the fallback once the newest version works.
    pub(super) fn settle(&mut self) {
        if self.fallback.is_none() {
            return;
        }
        // Every kind's status has these two members, and this type no other that is required.
        let status = self.status.as_ref();
        let status: Option<WebhookProviderStatus> =
            status.and_then(|status| serde_json::from_str(status.get()).ok());
        let is_ready = |condition: &Condition| {
            condition.kind == ConditionType::Ready && condition.status == ConditionStatus::True
        };
        if status.is_some_and(|status| {
            status.observed_generation == Some(self.generation) && status.conditions.iter().any(is_ready)
        }) {
            self.fallback = None;
        }
    }
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What is remembered, by object.
    pub entries: Entries,
    /// Kinds that only a later release knows.
    foreign: BTreeMap<String, Box<RawValue>>,
}

/// Why text is not the content of a state file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Damaged(String),
    Foreign,
    Newer { version: u64, writer: String },
}

impl Unreadable {
    /// The error to show for a file.
    pub(super) fn at(self, path: PathBuf) -> StateError {
        match self {
            Self::Damaged(problem) => StateError::Damaged { path, problem },
            Self::Foreign => StateError::Foreign(path),
            Self::Newer { version, writer } => StateError::Newer { path, version, writer },
        }
    }
}

#[derive(Deserialize)]
struct Header {
    version: Option<u64>,
    #[serde(default)]
    writer: Option<String>,
}

#[derive(Deserialize)]
struct File {
    objects: BTreeMap<String, Box<RawValue>>,
}

impl Content {
    /// Reads a file's text.
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        if text.trim().is_empty() {
            return Err(Unreadable::Damaged("it is empty".to_owned()));
        }
        serde_json::from_str::<&RawValue>(text).map_err(|error| damaged(&error))?;
        // It is whole; what does not fit from here on was never ours.
        let header: Header = serde_json::from_str(text).map_err(|_| Unreadable::Foreign)?;
        let version = header.version.ok_or(Unreadable::Foreign)?;
        if version > VERSION {
            let printable = |writer: &String| writer.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            return Err(Unreadable::Newer {
                version,
                writer: header
                    .writer
                    .filter(|writer| writer.len() <= 64 && printable(writer))
                    .unwrap_or_else(|| "an unnamed program".to_owned()),
            });
        }
        if version == 0 || header.writer.is_none() {
            return Err(Unreadable::Foreign);
        }
        let file: File = serde_json::from_str(text).map_err(|error| damaged(&error))?;
        let mut content = Self::default();
        for (name, objects) in file.objects {
            let Some(kind) = KINDS.into_iter().find(|kind| kind.to_string() == name) else {
                content.foreign.insert(name, objects);
                continue;
            };
            let objects: BTreeMap<String, Entry> = serde_json::from_str(objects.get())
                .map_err(|_| Unreadable::Damaged(format!("the objects of kind {name}")))?;
            for (key, entry) in objects {
                let broken = || Unreadable::Damaged(format!("{name} {key:?}"));
                let (namespace, object) = key.split_once('/').ok_or_else(broken)?;
                check_status(kind, &entry).map_err(|_| broken())?;
                let key = ObjectKey::new(namespace, object);
                content.entries.insert((kind, key), entry);
            }
        }
        Ok(content)
    }

    /// Writes a file's text.
    pub(super) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            version: u64,
            writer: &'a str,
            objects: BTreeMap<&'a str, Objects<'a>>,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Objects<'a> {
            Known(BTreeMap<String, &'a Entry>),
            Foreign(&'a RawValue),
        }
        let mut known: BTreeMap<Kind, BTreeMap<String, &Entry>> = BTreeMap::new();
        for ((kind, key), entry) in &self.entries {
            known.entry(*kind).or_default().insert(key.to_string(), entry);
        }
        let names: Vec<_> = known.into_iter().map(|(kind, objects)| (kind.to_string(), objects)).collect();
        let mut objects: BTreeMap<&str, Objects<'_>> =
            self.foreign.iter().map(|(name, objects)| (name.as_str(), Objects::Foreign(objects))).collect();
        for (name, of_kind) in &names {
            objects.insert(name, Objects::Known(of_kind.clone()));
        }
        let mut text = serde_json::to_vec(&File {
            version: VERSION,
            writer: concat!("hookkeeper ", env!("CARGO_PKG_VERSION")),
            objects,
        })?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The place of the damage; serde's own text may quote what stands there.
fn damaged(error: &serde_json::Error) -> Unreadable {
    Unreadable::Damaged(if error.is_eof() {
        format!("it ends too early, at line {}", error.line())
    } else {
        format!("line {}, column {}", error.line(), error.column())
    })
}

/// A status that cannot be understood would later read as "nothing recorded", and that creates a
/// second remote subscription.
fn check_status(kind: Kind, entry: &Entry) -> Result<(), serde_json::Error> {
    let Some(status) = &entry.status else {
        return Ok(());
    };
    match kind {
        Kind::WebhookSubscription => serde_json::from_str::<SubscriptionStatus>(status.get()).map(drop),
        Kind::TokenSource => serde_json::from_str::<TokenSourceStatus>(status.get()).map(drop),
        Kind::WebhookProvider => serde_json::from_str::<WebhookProviderStatus>(status.get()).map(drop),
        Kind::WebhookReceiver => serde_json::from_str::<WebhookReceiverStatus>(status.get()).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = r#"{"version":1,"writer":"hookkeeper 0.1.0","objects":{"WebhookSubscription":{"default/orders":{"uid":"u","generation":2,"specDigest":"d","valid":{"generation":1,"spec":{"postbackUrl":"https://a.example"}},"status":{"webhookId":"42"}}}}}"#;

    #[test]
    fn what_is_written_is_read_again() {
        let content = Content::parse(WHOLE).unwrap();
        let text = String::from_utf8(content.render().unwrap()).unwrap();
        assert_eq!(text.trim_end(), WHOLE.replace("0.1.0", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_file_that_is_cut_short_anywhere_is_damaged() {
        for end in 0..WHOLE.len() {
            assert!(matches!(Content::parse(&WHOLE[..end]), Err(Unreadable::Damaged(_))), "{end}");
        }
    }

    #[test]
    fn other_json_is_foreign() {
        for text in [
            "{}",
            "[]",
            "null",
            "17",
            r#"{"version":"2","services":{}}"#,
            r#"{"version":1}"#,
            r#"{"version":0,"writer":"x","objects":{}}"#,
        ] {
            assert_eq!(Content::parse(text).unwrap_err(), Unreadable::Foreign, "{text}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let text = r#"{"version":2,"writer":"hookkeeper 9.0.0","anything":[]}"#;
        assert_eq!(
            Content::parse(text).unwrap_err(),
            Unreadable::Newer { version: 2, writer: "hookkeeper 9.0.0".to_owned() }
        );
    }

    #[test]
    fn fields_of_a_later_release_do_no_harm() {
        let text = r#"{"version":1,"writer":"hookkeeper 0.2.0","new":1,"objects":{"Gate":{"default/g":{"a":1}},"WebhookSubscription":{"default/orders":{"uid":"u","generation":2,"specDigest":"d","new":2,"status":{"webhookId":"42","newer":true,"conditions":[{"type":"Ready","status":"True","reason":"SomethingNew","message":"m","lastTransitionTime":"2026-11-21T17:00:02Z"}]}}}}}"#;
        let content = Content::parse(text).unwrap();
        let written = String::from_utf8(content.render().unwrap()).unwrap();
        assert!(written.contains(r#""Gate":{"default/g":{"a":1}}"#));
        assert!(written.contains(r#""newer":true"#));
        assert!(written.contains("SomethingNew"));
    }

    #[test]
    fn a_status_that_cannot_be_understood_is_damage_and_is_named() {
        let text = WHOLE.replace(r#""42""#, "[42]");
        assert_eq!(
            Content::parse(&text).unwrap_err(),
            Unreadable::Damaged(r#"WebhookSubscription "default/orders""#.to_owned())
        );
    }

    #[test]
    fn damage_is_told_without_content() {
        let text = WHOLE.replace(r#""uid":"u""#, r#""uid":"canary" "canary""#);
        let Err(Unreadable::Damaged(problem)) = Content::parse(&text) else {
            panic!("not damaged");
        };
        assert!(!problem.contains("canary"), "{problem}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Content::parse(&text);
        }

        #[test]
        fn no_change_of_one_byte_panics(at in 0..WHOLE.len(), byte in 32u8..127) {
            let mut bytes = WHOLE.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Content::parse(&String::from_utf8(bytes).unwrap());
        }
    }
}
