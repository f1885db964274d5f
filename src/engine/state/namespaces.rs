//! Numbers for namespaces, each kept as long as something is in it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::ids::Arena;
use crate::shares::NamespaceId;

/// A namespace that something is in.
#[derive(Debug)]
struct Namespace {
    /// The one copy of its name.
    name: Arc<str>,
    /// Its subscriptions, providers and sources.
    objects: usize,
}

/// The namespaces that something is in.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    numbered: Arena<NamespaceId, Namespace>,
    by_name: HashMap<Arc<str>, NamespaceId>,
}

impl Namespaces {
    /// One more object is in the namespace. Returns its number and the one copy of its name.
    pub(crate) fn enter(&mut self, name: &Arc<str>) -> (NamespaceId, Arc<str>) {
        if let Some(id) = self.by_name.get(name)
            && let Some(known) = self.numbered.get_mut(*id)
        {
            known.objects += 1;
            return (*id, Arc::clone(&known.name));
        }
        let id = self.numbered.insert(Namespace { name: Arc::clone(name), objects: 1 });
        self.by_name.insert(Arc::clone(name), id);
        (id, Arc::clone(name))
    }

    /// An object is gone; with the last one the number is free for another namespace.
    pub(crate) fn leave(&mut self, id: NamespaceId) {
        let Some(known) = self.numbered.get_mut(id) else {
            return;
        };
        known.objects -= 1;
        if known.objects == 0
            && let Some(gone) = self.numbered.remove(id)
        {
            self.by_name.remove(&gone.name);
        }
    }

    pub(crate) fn name(&self, id: NamespaceId) -> &str {
        self.numbered.get(id).map_or("", |known| &known.name)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_known_as_long_as_something_is_in_it() {
        let mut namespaces = Namespaces::default();
        let name = |name: &str| -> Arc<str> { name.into() };
        let (first, shared) = namespaces.enter(&name("hr"));
        let (again, same) = namespaces.enter(&name("hr"));
        assert_eq!(first, again);
        assert!(Arc::ptr_eq(&shared, &same), "its name is kept once");
        let (other, _) = namespaces.enter(&name("it"));
        assert_ne!(first, other);
        namespaces.leave(first);
        assert_eq!(namespaces.len(), 2);
        namespaces.leave(first);
        assert_eq!(namespaces.len(), 1);
        assert_eq!(namespaces.enter(&name("sales")).0, first, "its number is free");
    }
}
