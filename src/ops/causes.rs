//! An error with its causes, in one line that says nothing twice.

use std::error::Error;

/// The error and what has caused it, from the outside to the inside, separated by colons.
///
/// Some libraries repeat a cause in the text of the error above it, others leave it out: a cause
/// whose words have been said already is passed over. Of a text with several lines the first is
/// taken: the others show a piece of a file, in which a secret may stand.
///
/// ```
/// use hookkeeper::ops::causes::told;
///
/// let error = anyhow::anyhow!("nothing listens there").context("no connection: nothing listens there");
/// assert_eq!(told(error.as_ref()), "no connection: nothing listens there");
/// ```
#[must_use]
pub fn told(error: &(dyn Error + 'static)) -> String {
    let mut said = String::new();
    for error in std::iter::successors(Some(error), |&error| error.source()) {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default().trim();
        if text.is_empty() || said.contains(text) {
            continue;
        }
        // One that repeats everything said so far, and more.
        if text.contains(&said) {
            said.clear();
        }
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(text);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Made {
        text: &'static str,
        source: Option<Box<Made>>,
    }

    fn chain(texts: &[&'static str]) -> Made {
        let mut texts = texts.iter().rev();
        let mut made = Made { text: texts.next().unwrap(), source: None };
        for text in texts {
            made = Made { text, source: Some(Box::new(made)) };
        }
        made
    }

    #[test]
    fn every_cause_is_told_once() {
        for (texts, said) in [
            (&["a", "b", "c"][..], "a: b: c"),
            (&["no file: not found", "not found"], "no file: not found"),
            (&["outer", "inner: not found", "not found"], "outer: inner: not found"),
            (&["outer (inner: cause); do this", "inner: cause", "cause"], "outer (inner: cause); do this"),
            (&["same", "same", "same"], "same"),
            (&["not found", "no file: not found"], "no file: not found"),
            (&["broken at 1:4\n | a: [canary", "broken"], "broken at 1:4"),
            (&["outer", "", "inner"], "outer: inner"),
        ] {
            assert_eq!(told(&chain(texts)), said, "{texts:?}");
        }
    }
}
