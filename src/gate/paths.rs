//! Which namespace may have which public paths.
//!
//! Whoever may write receivers in one namespace must not take a path that another one's deliveries go to:
//! a path begins with the name of its namespace, unless whoever runs the process allows more.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::api::validation::Problem;

/// One entry of `--allow-path`: a namespace, and what its paths may begin with besides `/NAMESPACE/`.
///
/// ```
/// use hookkeeper::gate::paths::AllowedPath;
///
/// let entry: AllowedPath = "hr=/hooks/gupy".parse()?;
/// assert_eq!(entry.to_string(), "hr=/hooks/gupy");
/// assert!("hr=hooks".parse::<AllowedPath>().is_err());
/// # Ok::<(), hookkeeper::gate::paths::InvalidAllowedPath>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPath {
    namespace: String,
    /// Without a slash at its end, so empty for every path.
    prefix: String,
}

/// Why an entry of `--allow-path` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAllowedPath {
    /// There is no equals sign.
    #[error("write NAMESPACE=/PREFIX, such as hr=/hooks")]
    Form,
    /// What stands before the equals sign is no namespace.
    #[error("what stands before `=` must be the name of a namespace: lower-case letters, digits and `-`")]
    Namespace,
    /// What stands after it is no path.
    #[error(
        "what stands after `=` must be a path: it begins with `/` and has neither empty parts, `.`, `..` nor a query"
    )]
    Prefix,
}

impl FromStr for AllowedPath {
    type Err = InvalidAllowedPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, prefix) = text.split_once('=').ok_or(InvalidAllowedPath::Form)?;
        let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if namespace.is_empty() || namespace.len() > 63 || !namespace.bytes().all(is_of_name) {
            return Err(InvalidAllowedPath::Namespace);
        }
        let whole = prefix.strip_suffix('/').unwrap_or(prefix);
        let parts = whole.split('/').skip(1);
        let is_part = |part: &str| {
            let is_of_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._~!$&'()*+,;=:@-".contains(&byte);
            !matches!(part, "" | "." | "..") && part.bytes().all(is_of_part)
        };
        if !prefix.starts_with('/') || !parts.into_iter().all(is_part) {
            return Err(InvalidAllowedPath::Prefix);
        }
        Ok(Self { namespace: namespace.to_owned(), prefix: whole.to_owned() })
    }
}

impl fmt::Display for AllowedPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.prefix.is_empty() { "/" } else { &self.prefix };
        write!(formatter, "{}={prefix}", self.namespace)
    }
}

/// Whether a receiver of the namespace may have the path.
#[must_use]
pub fn is_open_to(namespace: &str, path: &str, allowed: &[AllowedPath]) -> bool {
    let is_below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    let mut more = allowed.iter().filter(|entry| entry.namespace == namespace);
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(namespace))
        .is_some_and(|rest| rest.starts_with('/'))
        || more.any(|entry| path == entry.prefix || is_below(&entry.prefix))
}

/// As [`is_open_to`], in words for people.
///
/// # Errors
/// It may not; says what its path may begin with.
pub fn check_path(namespace: &str, path: &str, allowed: &[AllowedPath]) -> Result<(), Problem> {
    if is_open_to(namespace, path, allowed) {
        return Ok(());
    }
    let of_namespace = allowed.iter().filter(|entry| entry.namespace == namespace);
    let more: String = of_namespace.map(|entry| format!(", or with {}/", entry.prefix)).collect();
    Err(Problem::new(
        "spec.path",
        format!(
            "must begin with /{namespace}/{more}: a path belongs to one namespace. Whoever runs the process can allow \
             more with --allow-path {namespace}=/PREFIX"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(texts: &[&str]) -> Vec<AllowedPath> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_path_begins_with_its_namespace() {
        assert_eq!(check_path("hr", "/hr/gupy", &[]), Ok(()));
        for other in ["/gupy", "/hr", "/hr2/gupy", "/finance/gupy", "/HR/gupy", "/x/hr/gupy"] {
            let problem = check_path("hr", other, &[]).unwrap_err();
            assert_eq!(problem.field, "spec.path", "{other}");
            assert!(problem.problem.contains("/hr/"), "{problem}");
        }
    }

    #[test]
    fn more_is_allowed_to_the_namespace_that_is_named_and_to_no_other() {
        let more = allowed(&["hr=/hooks/gupy", "finance=/"]);
        for path in ["/hooks/gupy", "/hooks/gupy/in", "/hr/gupy"] {
            assert_eq!(check_path("hr", path, &more), Ok(()), "{path}");
        }
        for path in ["/hooks", "/hooks/gupyx", "/hooks/gupy2/in", "/other"] {
            assert!(check_path("hr", path, &more).is_err(), "{path}");
        }
        assert_eq!(check_path("finance", "/anything/at/all", &more), Ok(()));
        assert!(check_path("ops", "/hooks/gupy", &more).is_err());
    }

    #[test]
    fn entries_are_read_or_refused() {
        for (text, shown) in [("a=/", "a=/"), ("a-1=/b/c/", "a-1=/b/c"), ("a=/b=c", "a=/b=c")] {
            assert_eq!(text.parse::<AllowedPath>().unwrap().to_string(), shown);
        }
        for (text, why) in [
            ("", InvalidAllowedPath::Form),
            ("/b", InvalidAllowedPath::Form),
            ("=/b", InvalidAllowedPath::Namespace),
            ("A=/b", InvalidAllowedPath::Namespace),
            ("a=b", InvalidAllowedPath::Prefix),
            ("a=", InvalidAllowedPath::Prefix),
            ("a=//", InvalidAllowedPath::Prefix),
            ("a=/b//c", InvalidAllowedPath::Prefix),
            ("a=/b/../c", InvalidAllowedPath::Prefix),
            ("a=/b?c", InvalidAllowedPath::Prefix),
            ("a=/%62", InvalidAllowedPath::Prefix),
        ] {
            assert_eq!(text.parse::<AllowedPath>(), Err(why), "{text}");
        }
    }
}
