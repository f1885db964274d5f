//! The memory that bodies take while they come in and until they are stored: one budget for all.
//!
//! It is given out in steps, as bytes come: a sender that announces much and sends nothing has nothing.
//! Bodies that are not verified yet have at most half of it, one receiver a quarter, one namespace half:
//! no sender and no author can leave nothing for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::Owner;

/// A step, in bytes.
const STEP: usize = 64 * 1024;

/// All there is, in bytes.
pub const ALL: usize = 128 * 1024 * 1024;

/// The budget. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    steps: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    unverified: usize,
    by_receiver: HashMap<Arc<str>, usize>,
    by_namespace: HashMap<Arc<str>, usize>,
}

/// No memory is left for this body; asking again a little later will help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory is left for the body")]
pub struct NoMemory;

/// What one body has of the budget; given back when it is dropped.
#[derive(Debug)]
pub struct Portion {
    memory: Memory,
    owner: Owner,
    steps: usize,
    verified: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::of(ALL)
    }
}

impl Memory {
    /// A budget of so many bytes.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        Self(Arc::new(Inner { steps: bytes / STEP, taken: Mutex::default() }))
    }

    /// A portion without any memory yet.
    #[must_use]
    pub fn portion(&self, owner: &Owner, verified: bool) -> Portion {
        Portion { memory: self.clone(), owner: owner.clone(), steps: 0, verified }
    }

    /// The bytes that are taken.
    #[cfg(test)]
    fn taken(&self) -> usize {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).all * STEP
    }
}

impl Portion {
    /// Takes so much that a body of this length has its place.
    ///
    /// # Errors
    /// When there is not enough; what it had stays.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let wanted = bytes.div_ceil(STEP);
        let more = wanted.saturating_sub(self.steps);
        if more == 0 {
            return Ok(());
        }
        let steps = self.memory.0.steps;
        let mut taken = self.memory.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |map: &HashMap<Arc<str>, usize>, key: &str| map.get(key).copied().unwrap_or(0);
        let fits = taken.all + more <= steps
            && (self.verified || taken.unverified + more <= steps / 2)
            && held(&taken.by_receiver, &self.owner.uid) + more <= steps / 4
            && held(&taken.by_namespace, &self.owner.namespace) + more <= steps / 2;
        if !fits {
            return Err(NoMemory);
        }
        taken.all += more;
        if !self.verified {
            taken.unverified += more;
        }
        *taken.by_receiver.entry(Arc::clone(&self.owner.uid)).or_default() += more;
        *taken.by_namespace.entry(Arc::clone(&self.owner.namespace)).or_default() += more;
        self.steps = wanted;
        Ok(())
    }

    /// The body is verified: it counts no more among those that are not.
    pub fn verified(&mut self) {
        if !self.verified {
            self.verified = true;
            let mut taken = self.memory.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.unverified -= self.steps;
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        if self.steps == 0 {
            return;
        }
        let mut taken = self.memory.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= self.steps;
        if !self.verified {
            taken.unverified -= self.steps;
        }
        let give_back = |map: &mut HashMap<Arc<str>, usize>, key: &str| {
            if let Some(held) = map.get_mut(key) {
                *held -= self.steps;
                if *held == 0 {
                    map.remove(key);
                }
            }
        };
        give_back(&mut taken.by_receiver, &self.owner.uid);
        give_back(&mut taken.by_namespace, &self.owner.namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(namespace: &str, uid: &str) -> Owner {
        Owner { namespace: namespace.into(), name: uid.into(), uid: uid.into() }
    }

    #[test]
    fn a_receiver_has_a_quarter_a_namespace_half_and_all_is_given_back() {
        let memory = Memory::of(64 * STEP);
        let mut first = memory.portion(&owner("hr", "a"), true);
        assert_eq!(first.grow_to(16 * STEP), Ok(()));
        assert_eq!(memory.portion(&owner("hr", "a"), true).grow_to(1), Err(NoMemory));
        let mut second = memory.portion(&owner("hr", "b"), true);
        assert_eq!(second.grow_to(16 * STEP), Ok(()));
        assert_eq!(memory.portion(&owner("hr", "c"), true).grow_to(1), Err(NoMemory));
        let mut other = memory.portion(&owner("shop", "d"), true);
        assert_eq!(other.grow_to(1), Ok(()));
        drop((first, second, other));
        assert_eq!(memory.taken(), 0);
        assert_eq!(memory.portion(&owner("hr", "a"), true).grow_to(16 * STEP), Ok(()));
    }

    #[test]
    fn what_is_not_verified_has_half_until_it_is() {
        let memory = Memory::of(64 * STEP);
        let of = |namespace, uid| memory.portion(&owner(namespace, uid), false);
        let mut portions = [of("a", "1"), of("b", "2")];
        for portion in &mut portions {
            assert_eq!(portion.grow_to(16 * STEP), Ok(()));
        }
        let mut stranger = of("c", "3");
        assert_eq!(stranger.grow_to(1), Err(NoMemory));
        portions[0].verified();
        assert_eq!(stranger.grow_to(1), Ok(()));
    }

    #[test]
    fn it_grows_by_what_is_needed_and_no_step_counts_twice() {
        let memory = Memory::of(64 * STEP);
        let mut portion = memory.portion(&owner("a", "1"), true);
        assert_eq!(portion.grow_to(0), Ok(()));
        assert_eq!(memory.taken(), 0);
        for bytes in [1, STEP, STEP, STEP + 1, 10] {
            assert_eq!(portion.grow_to(bytes), Ok(()));
        }
        assert_eq!(memory.taken(), 2 * STEP);
    }
}
