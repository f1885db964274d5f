//! An engine that is killed between two of its effects: before one begins, or when it has taken effect
//! and the engine has not learned of it.

use super::World;

/// How far an engine has come, and where it dies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mortality {
    /// How many boundaries of effects it has passed.
    passed: usize,
    /// The boundary at which it dies.
    dies_at: Option<usize>,
    /// It is dead: nothing that it still does reaches anybody.
    pub is_dead: bool,
}

impl Mortality {
    /// An engine begins, which dies at this boundary.
    pub fn begins(dies_at: Option<usize>) -> Self {
        Self { dies_at, ..Self::default() }
    }
}

impl World {
    /// The engine comes to a boundary of an effect. It does not come back from the one at which it dies.
    pub(super) async fn boundary(&self) {
        if self.is_cut_off() {
            std::future::pending::<()>().await;
        }
    }

    /// The same for effects that nobody waits for: whether it has died here, or before.
    pub(super) fn is_cut_off(&self) -> bool {
        let mortality = &mut self.outside().mortality;
        mortality.is_dead |= mortality.dies_at == Some(mortality.passed);
        mortality.passed += 1;
        mortality.is_dead
    }
}
