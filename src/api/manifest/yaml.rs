//! YAML: splitting a text into documents and parsing each within limits.

use std::fmt;

use serde_json::Value;
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{DuplicateKeyPolicy, Error};

use crate::api::validation::Problem;

/// Largest document, in bytes: a little less than an API server takes.
pub const LARGEST_DOCUMENT: usize = 1024 * 1024;

/// Where a document stands in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the document, counted from 1; empty ones do not count.
    pub document: usize,
    /// Number of the item, counted from 1, when the document is a `List`.
    pub item: Option<usize>,
    /// Line in which the document begins, counted from 1.
    pub line: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "document {}", self.document)?;
        match self.item {
            Some(item) => write!(formatter, " item {item}"),
            None => Ok(()),
        }
    }
}

/// All documents of a text, each parsed when its turn comes, so that there is never more than one in
/// memory; those without any content are left out.
///
/// The text is split before it is parsed, so that a fault in one document stays in it. At the start
/// of a line, `---` can be nothing but a separator (YAML 1.2, production c-forbidden).
pub(super) fn documents(text: &str) -> impl Iterator<Item = (Position, Result<Value, Problem>)> {
    written(text).enumerate().map(|(index, (line, piece))| {
        let position = Position { document: index + 1, item: None, line };
        (position, parse(piece, line))
    })
}

/// Whether there are more documents in a text than so many; nothing is parsed for it.
pub(super) fn has_more_than(text: &str, documents: usize) -> bool {
    written(text).nth(documents).is_some()
}

/// The parts that have a content, each with the number of its first line.
fn written(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Pieces { rest: text, line: 1 }.filter(|(_, piece)| !is_blank(piece))
}

/// The parts between separators, each with the number of its first line.
struct Pieces<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut at, mut lines) = (0, 0);
        for line in self.rest.split_inclusive('\n') {
            if at > 0 && is_separator(line) {
                break;
            }
            at += line.len();
            lines += 1;
        }
        let (piece, rest) = self.rest.split_at(at);
        let begins = self.line;
        self.rest = rest;
        self.line += lines;
        Some((begins, piece))
    }
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether there is nothing but comments, directives and markers.
fn is_blank(piece: &str) -> bool {
    piece.lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line);
        let content = line.trim();
        content.is_empty() || content.starts_with('#') || line.starts_with('%') || line.trim_end() == "..."
    })
}

fn parse(piece: &str, first_line: usize) -> Result<Value, Problem> {
    if piece.len() > LARGEST_DOCUMENT {
        return Err(Problem::new("", format!("the document is larger than {LARGEST_DOCUMENT} bytes")));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_depth: 64,
            flow_nesting_limit: 64,
            max_documents: 2,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: 2 * LARGEST_DOCUMENT,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 2 * LARGEST_DOCUMENT,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(piece, options).map_err(|error| {
        let line = error
            .location()
            .and_then(|location| usize::try_from(location.line()).ok())
            .filter(|line| *line > 0)
            .map_or(first_line, |line| first_line + line - 1);
        Problem::new(format!("line {line}"), explain(&error))
    })
}

/// What is wrong, in words that never quote the document: the parser's own may.
fn explain(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { .. } => "the same key stands twice in one mapping".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "the document is too large, too deeply nested or has too many aliases".to_owned()
        }
        Error::UnknownAnchor { .. } => "an alias names an anchor that is not there".to_owned(),
        Error::UnsupportedTag { .. } => "tags beginning with `!` are not understood".to_owned(),
        Error::MultipleDocuments { .. } => {
            "a second document begins here; separate documents by `---`".to_owned()
        }
        Error::NonFiniteFloat { .. } => "numbers must be finite".to_owned(),
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => explain(error),
        // The scanner's texts are fixed ones, with a single character at most.
        Error::ExternalMessage { msg, .. } => format!("is no valid YAML: {msg}"),
        _ => "is no valid YAML".to_owned(),
    }
}
