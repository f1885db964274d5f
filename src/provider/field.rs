//! Paths of fields, for messages that name the one that is wrong.

use std::fmt::Display;

use crate::engine::ports::Invalid;
use crate::printable::is_active;

/// The path of a field, such as `spec.operations.update.json.clientHeaders`.
#[derive(Clone, Debug)]
pub(super) struct Field(String);

impl Field {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// A member of this field.
    pub(super) fn child(&self, name: &str) -> Self {
        let name: String = name.chars().filter(|c| !is_active(*c)).take(128).collect();
        Self(format!("{}.{name}", self.0))
    }

    /// An item of this field, counted from 0.
    pub(super) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// Says what is wrong with the field and how to put it right.
    pub(super) fn invalid(&self, problem: impl Display) -> Invalid {
        Invalid { field: self.0.clone(), problem: problem.to_string() }
    }
}
