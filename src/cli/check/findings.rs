//! What was found in manifests, and the lines that tell of it.

use std::collections::BTreeMap;

use crate::api::manifest::{MOST_PROBLEMS, MOST_TOLD};

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
