//! What is wrong with a set of manifests: each on its own, and with each other.

use std::collections::BTreeSet;

use super::declared::{Declared, place_of, where_in};
use super::findings::Findings;
use super::input::Input;
use super::receivers;
use crate::api::manifest::{self, Document, DocumentError, MOST_DOCUMENTS, Manifest};
use crate::api::{Kind, ObjectKey, SecretKeyReference, crd, secret_references};
use crate::gate::paths::AllowedPath;
use crate::provider::Provider;
use crate::sidecar::collisions;

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
