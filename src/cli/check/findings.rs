//! What is wrong with a set of manifests: each on its own, and with each other.

use std::collections::{BTreeMap, BTreeSet};

use super::input::Input;
use super::receivers;
use crate::api::manifest::{
    self, Document, DocumentError, MOST_DOCUMENTS, MOST_PROBLEMS, MOST_TOLD, Manifest,
};
use crate::api::{
    Kind, ObjectKey, SecretKeyReference, TokenSourceSpec, WebhookReceiverSpec, crd, secret_references,
};
use crate::gate::paths::AllowedPath;
use crate::provider::Provider;
use crate::sidecar::collisions;

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// A line for each of the first problems and warnings of each file, in the order of the files.
    pub lines: Vec<String>,
    /// How many documents there are.
    pub documents: usize,
    /// How many rules are broken.
    pub problems: usize,
    /// How many doubts there are.
    pub warnings: usize,
    problems_told: usize,
    warnings_told: usize,
    /// How many lines each file has.
    of_files: BTreeMap<String, usize>,
}

impl Findings {
    pub(super) fn problem(&mut self, file: &str, at: &str, problem: impl std::fmt::Display) {
        self.problems += 1;
        let is_told = self.tell(file, || format!("{at}: {problem}"));
        self.problems_told += usize::from(is_told);
    }

    pub(super) fn warning(&mut self, file: &str, at: &str, warning: impl std::fmt::Display) {
        self.warnings += 1;
        let is_told = self.tell(file, || format!("{at}: warning: {warning}"));
        self.warnings_told += usize::from(is_told);
    }

    /// Adds a line, if there are not too many of this file and of all of them.
    fn tell(&mut self, file: &str, line: impl FnOnce() -> String) -> bool {
        let of_file = match self.of_files.get_mut(file) {
            Some(of_file) => of_file,
            None => self.of_files.entry(file.to_owned()).or_default(),
        };
        let has_room = *of_file < MOST_PROBLEMS && self.lines.len() < MOST_TOLD;
        if has_room {
            *of_file += 1;
            self.lines.push(line());
        }
        has_room
    }

    /// How many problems and warnings have no line.
    pub(super) fn untold(&self) -> (usize, usize) {
        (self.problems - self.problems_told, self.warnings - self.warnings_told)
    }
}

/// The objects that the given files declare, valid or not.
#[derive(Default)]
pub(super) struct Declared<'a> {
    places: BTreeMap<(Kind, ObjectKey), String>,
    broken: BTreeSet<(Kind, ObjectKey)>,
    providers: BTreeMap<ObjectKey, Provider>,
    /// Token sources that keep their rules.
    pub(super) sources: BTreeMap<ObjectKey, &'a TokenSourceSpec>,
    /// Receivers that keep their rules.
    pub(super) receivers: BTreeMap<ObjectKey, &'a WebhookReceiverSpec>,
}

impl Declared<'_> {
    /// Whether the object is declared here and nowhere before.
    pub(super) fn is_first(&self, kind: Kind, file: &str, document: &Document) -> bool {
        self.places.get(&(kind, document.key())).is_some_and(|place| *place == where_in(file, document))
    }

    /// An object that is not among the files may be somewhere else: that is a doubt and no problem.
    pub(super) fn warn_if_absent(
        &self,
        file: &str,
        at: &str,
        field: &str,
        kind: Kind,
        key: &ObjectKey,
        findings: &mut Findings,
    ) {
        let target = (kind, key.clone());
        if !self.places.contains_key(&target) && !self.broken.contains(&target) {
            findings.warning(file, at, format!("{field}: there is no {kind} {key} in the given files"));
        }
    }
}

/// Judges all documents: their own rules, the providers' rules, and references among them.
pub(super) fn judge(inputs: &[Input], allowed_paths: &[AllowedPath]) -> Findings {
    let mut findings = Findings::default();
    let mut broken = BTreeSet::new();
    let mut documents = Vec::new();
    for input in inputs {
        match &input.text {
            Err(problem) => findings.problem(&input.file, &input.file, problem),
            Ok(text) => {
                let read = manifest::read(text);
                if findings.documents + read.len() > MOST_DOCUMENTS {
                    let text =
                        format!("with it there are more than {MOST_DOCUMENTS} documents; it is not judged");
                    findings.problem(&input.file, &input.file, text);
                    continue;
                }
                for result in read {
                    findings.documents += 1;
                    match result {
                        Ok(document) => documents.push((input.file.as_str(), document)),
                        Err(error) => unusable(&input.file, &error, &mut broken, &mut findings),
                    }
                }
            }
        }
    }
    let mut declared = Declared { broken, ..Declared::default() };
    for (file, document) in &documents {
        declare(file, document, &mut declared, &mut findings);
    }
    for (file, document) in &documents {
        if let Manifest::WebhookSubscription(_) = &document.manifest {
            subscription(file, document, &declared, &mut findings);
        }
    }
    receivers::judge(&documents, &declared, allowed_paths, &mut findings);
    collisions(&documents, &mut findings);
    findings
}

/// Names of Secrets that a cluster tells apart and the sidecar's variables and flat files do not.
fn collisions(documents: &[(&str, Document)], findings: &mut Findings) {
    let references = |document: &Document| match &document.manifest {
        Manifest::WebhookProvider(spec) => secret_references(spec),
        Manifest::TokenSource(spec) => secret_references(spec),
        Manifest::WebhookSubscription(spec) => secret_references(spec),
        Manifest::WebhookReceiver(spec) => secret_references(spec),
        Manifest::Secret { .. } | Manifest::Other { .. } => Vec::new(),
    };
    let named: Vec<_> =
        documents.iter().map(|(file, document)| (file, document, references(document))).collect();
    for collision in collisions::among(named.iter().flat_map(|(.., references)| references)) {
        let is_second = |found: &SecretKeyReference| {
            (&found.name, &found.key) == (&collision.second.0, &collision.second.1)
        };
        let place = named.iter().find(|(.., references)| references.iter().any(is_second));
        if let Some((file, document, _)) = place
            && let Some(kind) = document.manifest.kind()
        {
            let at = place_of(file, document, kind);
            findings.warning(
                file,
                &at,
                format!("{collision}; in a cluster they are apart, the sidecar does not start"),
            );
        }
    }
}

fn unusable(
    file: &str,
    error: &DocumentError,
    broken: &mut BTreeSet<(Kind, ObjectKey)>,
    findings: &mut Findings,
) {
    let at = format!("{file}: {}", error.subject());
    for problem in &error.problems {
        findings.problem(file, &at, problem);
    }
    findings.problems += error.more;
    let kind =
        error.kind.as_deref().and_then(|kind| crd::KINDS.into_iter().find(|ours| ours.to_string() == kind));
    if let (Some(kind), Some(key)) = (kind, &error.key) {
        broken.insert((kind, key.clone()));
    }
}

fn declare<'a>(file: &str, document: &'a Document, declared: &mut Declared<'a>, findings: &mut Findings) {
    let Some(kind) = document.manifest.kind() else {
        return;
    };
    let at = place_of(file, document, kind);
    let key = document.key();
    if let Some(first) = declared.places.get(&(kind, key.clone())) {
        findings.problem(file, &at, format!("is declared a second time, first in {first}"));
        return;
    }
    declared.places.insert((kind, key.clone()), where_in(file, document));
    match &document.manifest {
        Manifest::WebhookProvider(spec) => match Provider::resolve(spec) {
            Ok(provider) => {
                declared.providers.insert(key, provider);
            }
            Err(invalid) => findings.problem(file, &at, invalid),
        },
        Manifest::TokenSource(spec) => {
            declared.sources.insert(key, spec);
        }
        Manifest::WebhookReceiver(spec) => {
            declared.receivers.insert(key, spec);
        }
        Manifest::WebhookSubscription(_) | Manifest::Secret { .. } | Manifest::Other { .. } => {}
    }
}

fn subscription(file: &str, document: &Document, declared: &Declared<'_>, findings: &mut Findings) {
    let Manifest::WebhookSubscription(spec) = &document.manifest else {
        return;
    };
    let at = place_of(file, document, Kind::WebhookSubscription);
    let provider = document.key().sibling(&spec.provider_ref.name);
    if let Some(known) = declared.providers.get(&provider) {
        match known.check(spec) {
            Ok(()) => {
                if let Some(warning) = known.warning(spec) {
                    findings.warning(file, &at, warning);
                }
            }
            Err(invalid) => findings.problem(file, &at, invalid),
        }
    }
    let source = spec.token_source_ref.as_ref().map(|reference| document.key().sibling(&reference.name));
    let references = [
        ("spec.providerRef.name", Kind::WebhookProvider, Some(provider)),
        ("spec.tokenSourceRef.name", Kind::TokenSource, source),
    ];
    for (field, kind, key) in references {
        if let Some(key) = key {
            declared.warn_if_absent(file, &at, field, kind, &key, findings);
        }
    }
}

/// File and position, as another finding names them.
fn where_in(file: &str, document: &Document) -> String {
    format!("{file} {}", document.position)
}

pub(super) fn place_of(file: &str, document: &Document, kind: Kind) -> String {
    format!("{file}: {}: {kind} {}", document.position, document.key())
}
