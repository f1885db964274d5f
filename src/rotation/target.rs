//! What a remote subscription is about: its action and its postback URL.

use sha2::{Digest, Sha256};
use url::Url;

/// The form in which two spellings of a URL are the same, as the `url` crate writes it. A trailing
/// slash and the query matter. Text that is no URL stays as it is.
#[must_use]
pub fn normalised(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), String::from)
}

/// Digest of action and normalised postback URL: 16 hex digits.
///
/// ```
/// use hookkeeper::rotation::target::target;
/// assert_eq!(
///     target(Some("job.published"), "https://EXAMPLE.com:443/in"),
///     target(Some("job.published"), "https://example.com/in"),
/// );
/// ```
#[must_use]
pub fn target(action: Option<&str>, postback_url: &str) -> String {
    short_digest(&[action.unwrap_or_default(), &normalised(postback_url)])
}

/// The first 16 hex digits of SHA-256 over the parts, each with its length before it.
#[must_use]
pub fn short_digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(short_digest(&["ab", "c"]), short_digest(&["a", "bc"]));
    }

    #[test]
    fn a_trailing_slash_and_the_query_matter() {
        let about = |url| target(Some("a"), url);
        assert_ne!(about("https://example.com/in"), about("https://example.com/in/"));
        assert_ne!(about("https://example.com/in"), about("https://example.com/in?x=1"));
        assert_eq!(about("https://example.com"), about("https://example.com/"));
    }
}
