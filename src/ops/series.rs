//! Who has series of their own: so many objects of a namespace and no more, so that one author cannot make
//! the answer to a scrape as long as they like. The others are counted together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::ObjectKey;

/// How many providers of one namespace have series of their own.
pub(super) const PROVIDER_SERIES: usize = 100;
/// How many subscriptions of one namespace have a series in `hookkeeper_token_expiry_timestamp_seconds`.
pub(super) const EXPIRY_SERIES: usize = 2_000;

/// Name of the others of a namespace; no object is named so.
const OTHERS: &str = "(others)";

/// The providers with series of their own, by namespace.
#[derive(Debug, Default)]
pub(super) struct ProviderSeries(BTreeMap<Arc<str>, Namespace>, OthersName);

#[derive(Debug)]
struct OthersName(Arc<str>);

impl Default for OthersName {
    fn default() -> Self {
        Self(OTHERS.into())
    }
}

#[derive(Debug, Default)]
struct Namespace {
    own: BTreeMap<Arc<str>, Origin>,
    /// Something was counted for the others.
    counted_others: bool,
}

/// Why a provider has a place.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    /// Something was counted for it.
    counted: bool,
    /// The engine's state showed it last.
    shown: bool,
}

impl ProviderSeries {
    /// The label under which something of the provider's is counted from now on.
    pub(super) fn counted(&mut self, provider: &ObjectKey) -> String {
        let namespace = self.0.entry(Arc::clone(&provider.namespace)).or_default();
        match namespace.place(provider) {
            Some(origin) => {
                origin.counted = true;
                provider.to_string()
            }
            None => {
                namespace.counted_others = true;
                others(provider)
            }
        }
    }

    /// Takes in which providers there are; returns how many of which namespace have no place.
    pub(super) fn show<'a>(
        &mut self,
        providers: impl Iterator<Item = &'a ObjectKey>,
    ) -> Vec<(Arc<str>, usize)> {
        let providers: BTreeSet<&ObjectKey> = providers.collect();
        for (name, namespace) in &mut self.0 {
            namespace.own.retain(|own, origin| {
                origin.shown =
                    providers.contains(&ObjectKey { namespace: Arc::clone(name), name: Arc::clone(own) });
                origin.shown || origin.counted
            });
        }
        let mut without: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for provider in providers {
            let namespace = self.0.entry(Arc::clone(&provider.namespace)).or_default();
            match namespace.place(provider) {
                Some(origin) => origin.shown = true,
                None => *without.entry(Arc::clone(&provider.namespace)).or_default() += 1,
            }
        }
        self.0.retain(|_, namespace| !namespace.own.is_empty() || namespace.counted_others);
        without.into_iter().collect()
    }

    /// Those that have a place and are none of these.
    pub(super) fn besides(&self, there: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        let places = self.0.iter().flat_map(|(namespace, of)| {
            let key = |name| ObjectKey { namespace: Arc::clone(namespace), name: Arc::clone(name) };
            of.own.keys().map(key)
        });
        places.filter(|key| !there.contains(key)).collect()
    }

    /// Under whose name the provider's state is shown.
    pub(super) fn shown(&self, provider: &ObjectKey) -> ObjectKey {
        let namespace = self.0.get(&provider.namespace);
        if namespace.is_some_and(|namespace| namespace.own.contains_key(&provider.name)) {
            provider.clone()
        } else {
            ObjectKey { namespace: Arc::clone(&provider.namespace), name: Arc::clone(&self.1.0) }
        }
    }

    /// Lets the provider go; returns the labels whose counts go too: its own, and those of its
    /// namespace's others once nobody has a place there any more.
    pub(super) fn gone(&mut self, provider: &ObjectKey) -> Vec<String> {
        let mut labels = Vec::new();
        if let Some(namespace) = self.0.get_mut(&provider.namespace) {
            if namespace.own.remove(&provider.name).is_some() {
                labels.push(provider.to_string());
            }
            if namespace.own.is_empty() {
                labels.push(others(provider));
                self.0.remove(&provider.namespace);
            }
        }
        labels
    }
}

impl Namespace {
    /// The provider's place, if it has one or there is one left.
    fn place(&mut self, provider: &ObjectKey) -> Option<&mut Origin> {
        if !self.own.contains_key(&provider.name) && self.own.len() >= PROVIDER_SERIES {
            return None;
        }
        Some(self.own.entry(Arc::clone(&provider.name)).or_default())
    }
}

fn others(provider: &ObjectKey) -> String {
    format!("{}/{OTHERS}", provider.namespace)
}
