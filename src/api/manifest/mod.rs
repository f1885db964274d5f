//! Files with manifests: several documents of YAML or JSON, each judged on its own.
//!
//! One bad document never hides the others' results, and no error quotes a value.

mod metadata;
mod secret;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::validation::{self, Problem, Spec};
use super::{
    GROUP, Kind, ObjectKey, TokenSourceSpec, VERSION, WebhookProviderSpec, WebhookReceiverSpec,
    WebhookSubscriptionSpec,
};
use crate::secret::SecretText;
use metadata::Metadata;

pub use yaml::{LARGEST_DOCUMENT, Position};

/// The most documents of a text, items of lists among them. The whole text is refused when it has more.
pub const MOST_DOCUMENTS: usize = 20_000;

/// The most problems that are told of one document, and of one file; of the others it is told how many
/// there are.
pub const MOST_PROBLEMS: usize = 32;

/// The most problems of several files that are told at a time.
pub const MOST_TOLD: usize = 256;

/// What a document declares.
#[derive(Clone, Debug)]
pub enum Manifest {
    /// One webhook at the provider; its spec keeps all rules.
    WebhookSubscription(Box<WebhookSubscriptionSpec>),
    /// Where fresh tokens come from; its spec keeps all rules.
    TokenSource(Box<TokenSourceSpec>),
    /// The platform that sends the webhooks; its spec keeps all rules but those of its preset.
    WebhookProvider(Box<WebhookProviderSpec>),
    /// Where a platform's deliveries are taken in; its spec keeps all rules but those of its preset.
    WebhookReceiver(Box<WebhookReceiverSpec>),
    /// A Kubernetes `Secret`.
    Secret {
        /// Namespace, `default` when none is given.
        namespace: String,
        /// Name.
        name: String,
        /// Decoded values; keys whose value is no text are left out.
        data: BTreeMap<String, SecretText>,
        /// Annotations, such as the hosts the values may be sent to.
        annotations: BTreeMap<String, String>,
    },
    /// Something that is no concern of ours.
    Other {
        /// Group and version.
        api_version: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
}

impl Manifest {
    /// Which of our kinds it is, if it is one.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::WebhookSubscription(_) => Some(Kind::WebhookSubscription),
            Self::TokenSource(_) => Some(Kind::TokenSource),
            Self::WebhookProvider(_) => Some(Kind::WebhookProvider),
            Self::WebhookReceiver(_) => Some(Kind::WebhookReceiver),
            Self::Secret { .. } | Self::Other { .. } => None,
        }
    }
}

/// A document that can be read and keeps all rules.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it stands in the text.
    pub position: Position,
    /// Namespace, `default` when none is given.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The uid, if the document is a copy of an object of a server.
    pub uid: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it declares.
    pub manifest: Manifest,
    /// SHA-256 in hex of the spec, the same for two spellings of it; empty for other kinds than
    /// ours, so that it is never a digest of secret bytes.
    pub spec_digest: String,
}

impl Document {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// A document that cannot be used, and everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// Where it stands in the text.
    pub position: Position,
    /// Its kind, if it can be read.
    pub kind: Option<String>,
    /// Its namespace and name, if they can be read.
    pub key: Option<ObjectKey>,
    /// What is wrong; never empty, and no more than [`MOST_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many problems there are besides these.
    pub more: usize,
}

impl DocumentError {
    fn new(position: Position, kind: Option<String>, problem: Problem) -> Self {
        Self { position, kind, key: None, problems: vec![problem], more: 0 }
    }

    /// Which object it is, as far as that can be told: `document 2: WebhookSubscription default/x`.
    #[must_use]
    pub fn subject(&self) -> String {
        let mut subject = self.position.to_string();
        let mut separator = ": ";
        if let Some(kind) = &self.kind {
            subject.push_str(separator);
            subject.push_str(kind);
            separator = " ";
        }
        if let Some(key) = &self.key {
            subject.push_str(separator);
            subject.push_str(&key.to_string());
        }
        subject
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.subject())?;
        let mut separator = ": ";
        for problem in &self.problems {
            write!(formatter, "{separator}{problem}")?;
            separator = "; ";
        }
        if self.more > 0 {
            write!(formatter, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentError {}

/// Reads all documents of a text, in their order; empty ones are skipped and a `List` counts as its
/// items. A text with more than [`MOST_DOCUMENTS`] is one error.
#[must_use]
pub fn read(text: &str) -> Vec<Result<Document, DocumentError>> {
    if yaml::has_more_than(text, MOST_DOCUMENTS) {
        return too_many();
    }
    let mut results = Vec::new();
    for (position, parsed) in yaml::documents(text) {
        match parsed {
            Ok(Value::Null) => {}
            Ok(value) => flatten(position, value, &mut results),
            Err(problem) => results.push(Err(DocumentError::new(position, None, problem))),
        }
        if results.len() > MOST_DOCUMENTS {
            return too_many();
        }
    }
    results
}

fn too_many() -> Vec<Result<Document, DocumentError>> {
    let position = Position { document: 1, item: None, line: 1 };
    let problem = Problem::new(
        "",
        format!("there are more than {MOST_DOCUMENTS} documents in the file, so none of them is read"),
    );
    vec![Err(DocumentError::new(position, None, problem))]
}

fn flatten(position: Position, mut value: Value, results: &mut Vec<Result<Document, DocumentError>>) {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List")
        && value.get("apiVersion").and_then(Value::as_str) == Some("v1");
    if !is_list || position.item.is_some() {
        results.push(document(position, &value));
        return;
    }
    let items = match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => {
            let problem = Problem::new("items", "must be a list");
            results.push(Err(DocumentError::new(position, Some("List".to_owned()), problem)));
            return;
        }
    };
    // One more than there may be: the text is refused for it.
    for (index, item) in items.into_iter().take(MOST_DOCUMENTS + 1).enumerate() {
        let position = Position { item: Some(index + 1), ..position };
        flatten(position, item, results);
    }
}

fn document(position: Position, value: &Value) -> Result<Document, DocumentError> {
    let mut problems = Vec::new();
    let api_version = word(value, "apiVersion", &mut problems);
    let kind = word(value, "kind", &mut problems);
    let metadata = metadata::read(value, &mut problems);
    let failed = |mut problems: Vec<Problem>| {
        let more = problems.len().saturating_sub(MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        problems.shrink_to_fit();
        DocumentError {
            position,
            kind: (!kind.is_empty()).then(|| validation::readable(&kind)),
            key: metadata.name.as_ref().map(|name| ObjectKey::new(&metadata.namespace, name)),
            problems,
            more,
        }
    };
    if api_version.is_empty() || kind.is_empty() {
        return Err(failed(problems));
    }
    let decoded = declaration(&api_version, &kind, value, &metadata);
    match (decoded, metadata.name.clone()) {
        (Ok((manifest, spec_digest)), Some(name)) if problems.is_empty() => Ok(Document {
            position,
            namespace: metadata.namespace,
            name,
            uid: metadata.uid,
            annotations: metadata.annotations,
            labels: metadata.labels,
            manifest,
            spec_digest,
        }),
        (decoded, _) => {
            problems.extend(decoded.err().into_iter().flatten());
            Err(failed(problems))
        }
    }
}

/// A member of the root that must be a text; empty when it is not there.
fn word(value: &Value, name: &str, problems: &mut Vec<Problem>) -> String {
    match value.get(name) {
        Some(Value::String(word)) if !word.is_empty() && word.len() <= 253 => word.clone(),
        _ => {
            problems.push(Problem::new(name, "is required, as a text"));
            String::new()
        }
    }
}

type Declared = (Manifest, String);

fn declaration(
    api_version: &str,
    kind: &str,
    value: &Value,
    metadata: &Metadata,
) -> Result<Declared, Vec<Problem>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if group == GROUP {
        if version != VERSION {
            return Err(vec![Problem::new(
                "apiVersion",
                format!("must be {GROUP}/{VERSION}, the version that this release knows"),
            )]);
        }
        return ours(kind, value);
    }
    let name = metadata.name.clone().unwrap_or_default();
    if api_version == "v1" && kind == "Secret" {
        return Ok((
            Manifest::Secret {
                namespace: metadata.namespace.clone(),
                name,
                data: secret::read(value)?,
                annotations: metadata.annotations.clone(),
            },
            String::new(),
        ));
    }
    Ok((Manifest::Other { api_version: api_version.to_owned(), kind: kind.to_owned(), name }, String::new()))
}

fn ours(kind: &str, value: &Value) -> Result<Declared, Vec<Problem>> {
    let mut problems: Vec<Problem> = value
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .filter(|name| !["apiVersion", "kind", "metadata", "spec", "status"].contains(&name.as_str()))
        .map(|name| Problem::new(validation::readable(name), "is not known here; does it belong into spec?"))
        .collect();
    let decoded = match kind {
        "WebhookSubscription" => decode(value, Manifest::WebhookSubscription),
        "TokenSource" => decode(value, Manifest::TokenSource),
        "WebhookProvider" => decode(value, Manifest::WebhookProvider),
        "WebhookReceiver" => decode(value, Manifest::WebhookReceiver),
        _ => Err(vec![Problem::new(
            "kind",
            "must be WebhookSubscription, TokenSource, WebhookProvider or WebhookReceiver",
        )]),
    };
    match decoded {
        Ok(decoded) if problems.is_empty() => Ok(decoded),
        decoded => {
            problems.extend(decoded.err().into_iter().flatten());
            Err(problems)
        }
    }
}

fn decode<S: Spec + Serialize>(
    value: &Value,
    manifest: impl FnOnce(Box<S>) -> Manifest,
) -> Result<Declared, Vec<Problem>> {
    let spec: S = validation::decode(value, None)?;
    let digest = digest(&spec);
    Ok((manifest(Box::new(spec)), digest))
}

/// The digest of what was read and not of what was written: comments, order, nulls and empty lists
/// make no difference.
fn digest(spec: &impl Serialize) -> String {
    let mut canonical = String::new();
    write_canonical(&serde_json::to_value(spec).unwrap_or_default(), &mut canonical);
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(canonical.as_bytes()) {
        // Writing into a text does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Members in the order of their names, whatever order the JSON library keeps them in.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            text.push('{');
            for (name, member) in members {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(member, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests;
