//! What is told of an object that breaks a rule.

use std::fmt;

/// A rule that an object breaks: which field, and what to do about it.
///
/// Neither part ever holds a value that was written in the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the field, such as `spec.clientHeaders[2].name`; empty for the object itself.
    pub field: String,
    /// What is wrong and how to put it right.
    pub problem: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            formatter.write_str(&self.problem)
        } else {
            write!(formatter, "{}: {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for Problem {}
