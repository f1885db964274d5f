//! A path and query with placeholders.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::buffer::{SecretBuffer, TooLarge};
use super::field::Field;
use super::placeholder::{Piece, Source, Template};
use super::render::Scope;
use crate::engine::ports::Invalid;

/// Everything but what no reader of a URL gives a meaning to (RFC 3986, section 2.3, unreserved):
/// in a query, `&`, `=` and `+` have one, and servers differ about the others.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Everything but what may stand in a segment as it is (RFC 3986, section 3.3, `pchar`). To encode
/// more is permitted, and there are servers that look an id up without undoing it.
const IN_SEGMENT: &AsciiSet = &IN_QUERY
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');
/// What may stand in a path or query as it is (RFC 3986, sections 3.3 and 3.4), but for letters,
/// digits and `%`.
const PLAIN: &str = "-._~!$&'()*+,;=:@/?";
/// The longest path and query that is sent, in bytes.
const MAX_PATH: usize = 8192;

/// A path and query with placeholders, parsed. Never holds a secret: URLs end up in logs.
#[derive(Clone, Debug)]
pub(super) struct PathTemplate(Template);

/// Why no path can be made of the values; nothing of a value is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnusablePath {
    #[error("`{0}` is needed in the path of the request and is not set")]
    Absent(Source),
    #[error("`{0}` is needed in the path of the request and is empty")]
    Empty(Source),
    #[error("a segment of the request's path would be `.` or `..`, which leads to another path")]
    DotSegment,
    #[error("the path of the request would be longer than {MAX_PATH} bytes")]
    TooLong,
}

impl From<TooLarge> for UnusablePath {
    fn from(TooLarge: TooLarge) -> Self {
        Self::TooLong
    }
}

impl PathTemplate {
    /// Parses a path and query below the provider's base URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, field: &Field) -> Result<Self, Invalid> {
        let template = Template::parse(text).map_err(|error| field.invalid(error))?;
        if !text.starts_with('/') {
            return Err(field.invalid("the path must start with /"));
        }
        if let Some(secret) = template.sources().find(|source| source.is_secret()) {
            return Err(field.invalid(format!(
                "`{secret}` cannot stand in a path or query, because URLs end up in logs; send it in the document"
            )));
        }
        let mut sample = String::new();
        for piece in template.pieces() {
            match piece {
                Piece::Text(text) => {
                    if let Some(character) = first_unusable(text) {
                        return Err(field.invalid(format!(
                            "{character:?} cannot stand in a path or query; write it percent-encoded"
                        )));
                    }
                    sample.push_str(text);
                }
                Piece::Placeholder(_) => sample.push('x'),
            }
        }
        if has_dot_segment(&sample) {
            return Err(field.invalid("segments `.` and `..` are not allowed; write the path they lead to"));
        }
        Ok(Self(template))
    }

    pub(super) fn template(&self) -> &Template {
        &self.0
    }

    /// Fills the path in. What would lead out of its segment or parameter is percent-encoded in
    /// every value.
    ///
    /// # Errors
    /// A value that is absent or empty, or that would lead to another path.
    pub(super) fn render(&self, scope: &Scope<'_>) -> Result<String, UnusablePath> {
        let mut path = String::new();
        for piece in self.0.pieces() {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Placeholder(placeholder) => {
                    let source = &placeholder.source;
                    let value =
                        placeholder.evaluate(scope)?.ok_or_else(|| UnusablePath::Absent(source.clone()))?;
                    let mut text = SecretBuffer::new();
                    value.write_text(&mut text)?;
                    let text = text.finish();
                    // `/webhooks/` instead of `/webhooks/ID` could mean all of them.
                    if text.is_empty() {
                        return Err(UnusablePath::Empty(source.clone()));
                    }
                    let kept = if path.contains('?') { IN_QUERY } else { IN_SEGMENT };
                    path.extend(utf8_percent_encode(text.expose(), kept));
                }
            }
            if path.len() > MAX_PATH {
                return Err(UnusablePath::TooLong);
            }
        }
        if has_dot_segment(&path) {
            return Err(UnusablePath::DotSegment);
        }
        Ok(path)
    }
}

/// The first character that cannot stand in a path or query as it is.
fn first_unusable(text: &str) -> Option<char> {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let usable = match character {
            '%' => {
                let mut digits = characters.clone().take(2);
                let are_hexadecimal = digits.by_ref().all(|c| c.is_ascii_hexdigit());
                are_hexadecimal && characters.clone().take(2).count() == 2
            }
            character => character.is_ascii_alphanumeric() || PLAIN.contains(character),
        };
        if !usable {
            return Some(character);
        }
    }
    None
}

/// Whether parsing the URL would take a segment for the same or the upper level (WHATWG URL
/// standard, "single-dot" and "double-dot URL path segment": encoded dots count). So does `..;x`:
/// there are servers that drop what follows a semicolon before they look at the segment.
fn has_dot_segment(path_and_query: &str) -> bool {
    let path = path_and_query.split('?').next().unwrap_or_default();
    path.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        let dots = name.replace("%2e", ".").replace("%2E", ".");
        dots == "." || dots == ".."
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn parse(text: &str) -> Result<PathTemplate, Invalid> {
        PathTemplate::parse(text, &Field::new("path"))
    }

    #[test]
    fn what_cannot_be_a_path_is_refused_when_it_is_read() {
        for text in [
            "webhooks",
            "",
            "/a b",
            "/a#b",
            "/a\\b",
            "/a%2",
            "/a%zz",
            "/a/../b",
            "/./b",
            "/%2E%2e/b",
            "/a/..",
            "/é",
            "/{token}",
            "/{headers|json}",
            "/{headers.x}",
            "/{headers}",
            "/{nothing}",
            "/a\tb",
            "/a\n",
            "/{{x}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in [
            "/",
            "//a",
            "/a?b=c&d={page}",
            "/a/{id}..",
            "/a%2Fb/{id}?q=../..",
            "/a/...",
            "/{active|choose(a,b)}",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_missing_or_leads_elsewhere_is_refused() {
        let path = parse("/hooks/{id}").unwrap();
        let with = |id| Scope { id, ..Scope::default() };
        for (id, problem) in [
            (None, UnusablePath::Absent(Source::Id)),
            (Some(""), UnusablePath::Empty(Source::Id)),
            (Some("."), UnusablePath::DotSegment),
            (Some(".."), UnusablePath::DotSegment),
            (Some("..;x"), UnusablePath::DotSegment),
        ] {
            assert_eq!(path.render(&with(id)), Err(problem));
        }
        assert_eq!(path.render(&with(Some("../x?y#z%2e"))).unwrap(), "/hooks/..%2Fx%3Fy%23z%252e");
        let half = parse("/hooks/.{id}").unwrap();
        assert_eq!(half.render(&with(Some("."))), Err(UnusablePath::DotSegment));
        let long = "é".repeat(MAX_PATH);
        assert_eq!(path.render(&with(Some(&long))), Err(UnusablePath::TooLong));
    }

    #[test]
    fn in_a_segment_only_what_would_lead_out_of_it_is_encoded() {
        let id = "main:1-._~!$&'()*+,;=@";
        let scope = Scope { id: Some(id), ..Scope::default() };
        assert_eq!(parse("/hooks/{id}").unwrap().render(&scope).unwrap(), format!("/hooks/{id}"));
        let sent = Url::parse(&format!("https://api.example.com/hooks/{id}")).unwrap();
        assert_eq!(sent.path(), format!("/hooks/{id}"), "and it is sent as it stands there");
        assert_eq!(
            parse("/hooks?of={id}").unwrap().render(&scope).unwrap(),
            "/hooks?of=main%3A1-._~%21%24%26%27%28%29%2A%2B%2C%3B%3D%40",
            "a query has its own rules"
        );
        let scope = Scope { id: Some("a/b?c#d e%"), ..Scope::default() };
        assert_eq!(parse("/hooks/{id}/x").unwrap().render(&scope).unwrap(), "/hooks/a%2Fb%3Fc%23d%20e%25/x");
    }

    proptest! {
        #[test]
        fn a_value_stays_in_its_place_whatever_it_holds(
            id in r"(?s)(.|\.|/|\\|%|\?|#|&|=|;|:|2e|\n){0,24}",
            action in r"(?s)(.|\.|/|\\|%|\?|#|&|=|\+| ){1,24}",
        ) {
            let path = parse("/a/{id}/b?x={action}&y=1").unwrap();
            let scope = Scope { id: Some(&id), action: Some(&action), ..Scope::default() };
            let Ok(path) = path.render(&scope) else {
                prop_assert!(matches!(id.split(';').next(), Some("" | "." | "..")));
                return Ok(());
            };
            let url = Url::parse(&format!("https://api.example.com/v1{path}")).unwrap();
            prop_assert_eq!(url.host_str(), Some("api.example.com"));
            let segments: Vec<_> = url.path_segments().unwrap().map(|segment| {
                percent_encoding::percent_decode_str(segment).decode_utf8().unwrap().into_owned()
            }).collect();
            prop_assert_eq!(segments, ["v1", "a", &id, "b"]);
            let query: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!(query, [("x".into(), action.as_str().into()), ("y".into(), "1".into())]);
            prop_assert_eq!(url.fragment(), None);
        }
    }
}
