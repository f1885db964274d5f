//! The objects that the given files declare, and where.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use crate::api::manifest::Document;
use crate::api::{Kind, ObjectKey, TokenSourceSpec, WebhookReceiverSpec};
use crate::provider::Provider;

/// The objects that the given files declare, valid or not.
#[derive(Default)]
pub(super) struct Declared<'a> {
    /// Where each of them stands.
    pub(super) places: BTreeMap<(Kind, ObjectKey), String>,
    /// Those that cannot be used.
    pub(super) broken: BTreeSet<(Kind, ObjectKey)>,
    /// Providers that keep their rules.
    pub(super) providers: BTreeMap<ObjectKey, Provider>,
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

/// File and position, as another finding names them.
pub(super) fn where_in(file: &str, document: &Document) -> String {
    format!("{file} {}", document.position)
}

/// File, position and object, as a finding begins.
pub(super) fn place_of(file: &str, document: &Document, kind: Kind) -> String {
    format!("{file}: {}: {kind} {}", document.position, document.key())
}
