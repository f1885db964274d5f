//! What a remote subscription is about: its action and its postback URL.

use std::fmt;

use sha2::{Digest, Sha256};
use url::{Position, Url};

/// What a remote subscription is about, in few bytes: digests of its postback URL and its action.
///
/// One that a listing shows may lack either, where the listing does not show it.
///
/// ```
/// use hookkeeper::rotation::target::{Likeness, Target};
/// let wanted = Target::new(Some("job.published"), "https://EXAMPLE.com:443/in/");
/// let listed = |action| Target::new(action, "https://example.com/in");
/// assert_eq!(wanted.likeness(listed(Some("job.published"))), Likeness::Same);
/// assert_eq!(wanted.likeness(listed(Some("job.closed"))), Likeness::Different);
/// assert_eq!(wanted.likeness(listed(None)), Likeness::Same);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub(super) url: Option<u64>,
    pub(super) action: Option<u64>,
}

/// How one target compares with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same URL and, where both name one, the same action.
    Same,
    /// One of them does not say its URL, and nothing else tells them apart.
    Unknown,
    /// They differ.
    Different,
}

impl Target {
    /// The target of an action, where there is one, and a postback URL.
    #[must_use]
    pub fn new(action: Option<&str>, postback_url: &str) -> Self {
        Self { url: Some(number(&[&comparable(postback_url)])), ..Self::without_url(action) }
    }

    /// The target of something of which the URL is not known.
    #[must_use]
    pub fn without_url(action: Option<&str>) -> Self {
        Self { url: None, action: action.map(|action| number(&[action])) }
    }

    /// Whether it names an action.
    #[must_use]
    pub fn has_action(self) -> bool {
        self.action.is_some()
    }

    /// How the other one compares with it.
    #[must_use]
    pub fn likeness(self, other: Self) -> Likeness {
        #[cfg(test)]
        COMPARED.with(|compared| compared.set(compared.get() + 1));
        let differ =
            |one: Option<u64>, other: Option<u64>| one.zip(other).is_some_and(|(one, other)| one != other);
        if differ(self.url, other.url) || differ(self.action, other.action) {
            Likeness::Different
        } else if self.url.is_none() || other.url.is_none() {
            Likeness::Unknown
        } else {
            Likeness::Same
        }
    }
}

/// As a creation record has it: [`Recorded::read`] reads it again.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |part: Option<u64>| part.map(|part| format!("{part:016x}")).unwrap_or_default();
        write!(formatter, "{}-{}", digits(self.url), digits(self.action))
    }
}

/// The target in a creation record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It can be compared.
    Target(Target),
    /// Written by an earlier release: one digest of both, which can only be equal to [`former`].
    Former(u64),
}

impl Recorded {
    /// Reads what a record says; `None` when no release has written it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let digits = |text: &str| {
            let are_digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            u64::from_str_radix(text, 16).ok().filter(|_| are_digits)
        };
        let Some((url, action)) = text.split_once('-') else {
            return digits(text).map(Self::Former);
        };
        let action = if action.is_empty() { None } else { Some(digits(action)?) };
        Some(Self::Target(Target { url: Some(digits(url)?), action }))
    }
}

/// The digest of action and URL that earlier releases recorded.
#[must_use]
pub fn former(action: Option<&str>, postback_url: &str) -> u64 {
    let url = Url::parse(postback_url).map_or_else(|_| postback_url.to_owned(), String::from);
    number(&[action.unwrap_or_default(), &url])
}

/// The other spelling of a URL whose path ends, or does not end, with a slash.
#[must_use]
pub fn with_other_slash(postback_url: &str) -> String {
    let Ok(mut url) = Url::parse(postback_url) else {
        return postback_url.to_owned();
    };
    let path = url.path().to_owned();
    url.set_path(&path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned));
    url.into()
}

/// The form in which spellings of a URL that lead to the same place are the same: as the `url`
/// crate writes it (case of scheme and host, default port, empty path), without a fragment, an
/// empty query and one slash at the end of the path, with percent-encoding only where it is needed
/// and in upper case (RFC 3986, section 6.2.2). Text that is no URL stays as it is.
#[must_use]
pub fn comparable(text: &str) -> String {
    let Ok(url) = Url::parse(text) else {
        return text.to_owned();
    };
    let path = url.path();
    let mut comparable = url[..Position::BeforePath].to_owned();
    push_decoded(&mut comparable, path.strip_suffix('/').unwrap_or(path));
    if let Some(query) = url.query().filter(|query| !query.is_empty()) {
        comparable.push('?');
        push_decoded(&mut comparable, query);
    }
    comparable
}

/// Appends the text, with what need not be percent-encoded as it is, and the rest in upper case.
fn push_decoded(to: &mut String, text: &str) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        to.push_str(before);
        let digits = after.split_at_checked(2);
        let digits = digits.filter(|(digits, _)| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some((digits, after)) = digits else {
            to.push('%');
            rest = after;
            continue;
        };
        match u8::from_str_radix(digits, 16).map(char::from) {
            Ok(plain) if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => to.push(plain),
            _ => {
                to.push('%');
                to.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = after;
    }
    to.push_str(rest);
}

/// The first 16 hex digits of SHA-256 over the parts, each with its length before it.
#[must_use]
pub fn short_digest(parts: &[&str]) -> String {
    format!("{:016x}", number(parts))
}

/// The digest by which a remote is found in a listing without its id.
#[must_use]
pub fn digest_of_id(id: &str) -> u64 {
    number(&[id])
}

#[cfg(test)]
thread_local! {
    static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How often this thread has compared targets.
#[cfg(test)]
pub(crate) fn compared() -> u64 {
    COMPARED.with(std::cell::Cell::get)
}

/// The same digits as a number.
fn number(parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(short_digest(&["ab", "c"]), short_digest(&["a", "bc"]));
    }

    #[test]
    fn a_digest_is_the_beginning_of_its_sha_256() {
        assert_eq!(short_digest(&[]), "e3b0c44298fc1c14", "of nothing");
    }

    #[test]
    fn spellings_of_one_url_are_the_same() {
        for (one, other) in [
            ("https://example.com/in", "https://example.com/in/"),
            ("https://example.com/in?a=1", "https://example.com/in/?a=1"),
            ("https://example.com", "https://example.com/"),
            ("https://example.com:443/in", "HTTPS://EXAMPLE.com/in"),
            ("http://example.com:80/in", "http://example.com/in"),
            ("https://example.com/a%2fb", "https://example.com/a%2Fb"),
            ("https://example.com/%7euser", "https://example.com/~user"),
            ("https://example.com/in?", "https://example.com/in"),
            ("https://example.com/in#", "https://example.com/in"),
            ("https://example.com/a/../in", "https://example.com/in"),
            ("https://example.com/in?q=%c3%a9", "https://example.com/in?q=é"),
        ] {
            assert_eq!(comparable(one), comparable(other), "{one} and {other}");
            assert_eq!(Target::new(Some("a"), one).likeness(Target::new(Some("a"), other)), Likeness::Same);
        }
    }

    #[test]
    fn urls_that_lead_elsewhere_are_not() {
        let url = "https://example.com/in";
        for other in [
            "https://example.com/in?x=1",
            "https://example.com/in//",
            "https://example.com/IN",
            "https://example.com/in%2F",
            "https://example.com/",
            "https://example.com:8443/in",
            "http://example.com/in",
            "https://www.example.com/in",
            "https://example.com/in%",
            "no url",
            "",
        ] {
            assert_ne!(comparable(url), comparable(other), "{other}");
        }
        assert_ne!(comparable("https://example.com/a?x=%26"), comparable("https://example.com/a?x=&"));
        assert_eq!(comparable("https://example.com/%4"), "https://example.com/%4", "it is left as it is");
        assert_eq!(comparable("https://example.com/%é"), "https://example.com/%%C3%A9");
    }

    #[test]
    fn what_a_listing_does_not_show_tells_nothing_apart() {
        let url = "https://example.com/in";
        let wanted = Target::new(Some("a"), url);
        for (listed, likeness) in [
            (Target::new(Some("a"), url), Likeness::Same),
            (Target::new(Some("b"), url), Likeness::Different),
            (Target::new(None, url), Likeness::Same),
            (Target::new(None, "https://example.com/else"), Likeness::Different),
            (Target::without_url(Some("a")), Likeness::Unknown),
            (Target::without_url(None), Likeness::Unknown),
            (Target::without_url(Some("b")), Likeness::Different),
        ] {
            assert_eq!(wanted.likeness(listed), likeness, "{listed:?}");
            assert_eq!(listed.likeness(wanted), likeness, "{listed:?}");
        }
    }

    #[test]
    fn a_target_says_whether_it_names_an_action() {
        let url = "https://example.com/in";
        assert!(Target::new(Some("a"), url).has_action() && Target::without_url(Some("a")).has_action());
        assert!(!Target::new(None, url).has_action() && !Target::without_url(None).has_action());
    }

    #[test]
    fn a_record_is_read_again_whichever_release_wrote_it() {
        for action in [Some("a"), None] {
            let target = Target::new(action, "https://example.com/in");
            assert_eq!(Recorded::read(&target.to_string()), Some(Recorded::Target(target)));
        }
        // As an earlier release recorded it.
        let digest = former(Some("a"), "https://EXAMPLE.com/in");
        assert_eq!(digest, former(Some("a"), "https://example.com/in"));
        assert_eq!(
            Recorded::read(&short_digest(&["a", "https://example.com/in"])),
            Some(Recorded::Former(digest))
        );
        for text in ["", "-", "recorded", "e3b0c442-98fc1c14", "-e3b0c44298fc1c14", "e3b0c44298fc1c1é"] {
            assert_eq!(Recorded::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_other_slash_leads_there_and_back() {
        let with = "https://example.com/in/?x=1";
        let without = "https://example.com/in?x=1";
        assert_eq!((with_other_slash(with).as_str(), with_other_slash(without).as_str()), (without, with));
    }
}
