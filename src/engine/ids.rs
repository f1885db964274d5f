//! Small numbers that stand for things of the engine's state, and the arena that gives them out.

use std::marker::PhantomData;

/// A number that an [`Arena`] gives out for things of one kind.
pub(crate) trait ArenaId: Copy {
    /// The id of the place with this number.
    fn of(number: u32) -> Self;
    /// The number of its place.
    fn number(self) -> u32;
}

macro_rules! arena_id {
    ($(#[$text:meta])* $name:ident) => {
        $(#[$text])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) u32);

        impl ArenaId for $name {
            fn of(number: u32) -> Self {
                Self(number)
            }

            fn number(self) -> u32 {
                self.0
            }
        }
    };
}

arena_id!(
    /// A subscription's place in the state.
    SubscriptionId
);
arena_id!(
    /// A source's place in the state.
    SourceId
);
arena_id!(
    /// A provider's place in the state.
    ProviderId
);

/// Stands for one call that is under way, and for no other one.
pub(crate) type Ticket = u64;

/// What stands for a namespace is shared with what is outside of the engine, and is a bare number.
impl ArenaId for u32 {
    fn of(number: u32) -> Self {
        number
    }

    fn number(self) -> u32 {
        self
    }
}

/// Things under small numbers; a number is used again after its thing has gone.
#[derive(Debug)]
pub(crate) struct Arena<Id, T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
    ids: PhantomData<Id>,
}

impl<Id, T> Default for Arena<Id, T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), ids: PhantomData }
    }
}

impl<Id: ArenaId, T> Arena<Id, T> {
    pub(crate) fn insert(&mut self, thing: T) -> Id {
        if let Some(at) = self.free.pop() {
            self.places[at as usize] = Some(thing);
            return Id::of(at);
        }
        self.places.push(Some(thing));
        Id::of(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn get(&self, at: Id) -> Option<&T> {
        self.places.get(at.number() as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: Id) -> Option<&mut T> {
        self.places.get_mut(at.number() as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, at: Id) -> Option<T> {
        let thing = self.places.get_mut(at.number() as usize)?.take()?;
        self.free.push(at.number());
        if self.free.len() == self.places.len() {
            // After the last one the memory is given back, too.
            *self = Self::default();
        }
        Some(thing)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        (0_u32..).zip(&self.places).filter_map(|(at, place)| Some((Id::of(at), place.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut T)> {
        (0_u32..).zip(&mut self.places).filter_map(|(at, place)| Some((Id::of(at), place.as_mut()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The ids of all that are there, to change things one by one.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.iter().map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_after_its_thing_has_gone() {
        let mut arena: Arena<SourceId, &str> = Arena::default();
        let (first, second) = (arena.insert("first"), arena.insert("second"));
        assert_eq!(arena.remove(first), Some("first"));
        assert_eq!((arena.get(first), arena.len(), arena.ids()), (None, 1, vec![second]));
        assert_eq!(arena.insert("third"), first);
        assert_eq!(arena.iter().map(|(_, thing)| *thing).collect::<Vec<_>>(), ["third", "second"]);
    }
}
