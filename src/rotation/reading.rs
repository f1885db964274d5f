//! A listing that is being read, page by page.
//!
//! Pages shift while they are read: what is deleted from the first page moves something from the
//! second to the first, and nobody sees it. So a listing of several pages is complete when two
//! passes in a row saw the same ids. One that took a single request is a single moment's picture,
//! which cannot shift, and is complete at once.
//!
//! What has been read is kept between the pages, so that a listing goes on at the page that failed.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::outcome::{CallFailure, Listing, RemoteSubscription};

/// The most pages of one pass.
pub const MAX_PAGES: u32 = 1_000;
/// The most subscriptions of one pass.
pub const MAX_ITEMS: usize = 100_000;
/// The most passes.
pub const MAX_PASSES: u32 = 4;

/// What has been read of a listing so far.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// By id, so that one that shifted onto two pages counts once.
    pass: BTreeMap<String, RemoteSubscription>,
    /// The ids that the pass before saw.
    before: Option<BTreeSet<String>>,
    /// Pages of this pass that have been read.
    pages: u32,
    passes: u32,
    link: Option<Url>,
    requests: u32,
}

/// What comes after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing: it was the last one.
    Nothing,
    /// The one with the next number.
    Page,
    /// The one at this URL.
    Link(Url),
}

impl Reading {
    /// Number of the page to ask for, counted from 1.
    #[must_use]
    pub fn page(&self) -> u32 {
        self.pages + 1
    }

    /// Where the page to ask for is, when the one before it said so.
    #[must_use]
    pub fn link(&self) -> Option<&Url> {
        self.link.as_ref()
    }

    /// Whether anything would be lost by beginning anew.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.requests > 0
    }

    /// Takes in what the page showed. The listing comes back when that made it complete.
    ///
    /// # Errors
    /// [`CallFailure::Unreadable`] for a listing that is too long or never settles.
    pub fn take_in(
        &mut self,
        page: Vec<RemoteSubscription>,
        after: After,
    ) -> Result<Option<Listing>, CallFailure> {
        self.pages += 1;
        self.requests += 1;
        self.link = None;
        self.pass.extend(page.into_iter().map(|remote| (remote.id.clone(), remote)));
        if self.pass.len() > MAX_ITEMS {
            return Err(unreadable(format!("the list has more than {MAX_ITEMS} subscriptions")));
        }
        if after != After::Nothing {
            if self.pages >= MAX_PAGES {
                return Err(unreadable(format!("the list has more than {MAX_PAGES} pages")));
            }
            if let After::Link(link) = after {
                self.link = Some(link);
            }
            return Ok(None);
        }
        self.passes += 1;
        let pass = std::mem::take(&mut self.pass);
        let is_single = std::mem::take(&mut self.pages) == 1;
        let is_settled = self.before.take().is_some_and(|before| before.iter().eq(pass.keys()));
        if is_single || is_settled {
            return Ok(Some(Listing {
                subscriptions: pass.into_values().collect(),
                requests: self.requests,
            }));
        }
        if self.passes >= MAX_PASSES {
            return Err(unreadable(format!(
                "{MAX_PASSES} passes over the list never saw the same ids twice in a row"
            )));
        }
        self.before = Some(pass.into_keys().collect());
        Ok(None)
    }
}

/// Whether the listing can go on where it failed: the same page may well be answered next time.
#[must_use]
pub fn goes_on_after(failure: &CallFailure) -> bool {
    match failure {
        CallFailure::Status { code, .. } => matches!(code, 401 | 408 | 429 | 500..=599),
        CallFailure::NotSent { .. } | CallFailure::Unanswered { .. } | CallFailure::Refused(_) => true,
        CallFailure::Redirect { .. } | CallFailure::Unreadable { .. } => false,
    }
}

fn unreadable(what: String) -> CallFailure {
    CallFailure::Unreadable { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str]) -> Vec<RemoteSubscription> {
        let remote = |id: &&str| RemoteSubscription {
            id: (*id).to_owned(),
            action: None,
            postback_url: None,
            active: None,
        };
        ids.iter().map(remote).collect()
    }

    fn pass(reading: &mut Reading, pages: &[&[&str]]) -> Result<Option<Listing>, CallFailure> {
        let (last, others) = pages.split_last().unwrap();
        for (index, ids) in others.iter().enumerate() {
            assert_eq!(reading.page() as usize, index + 1);
            assert_eq!(reading.take_in(page(ids), After::Page), Ok(None));
        }
        reading.take_in(page(last), After::Nothing)
    }

    #[test]
    fn a_single_page_is_complete_at_once() {
        let listing = pass(&mut Reading::default(), &[&["a", "b"]]).unwrap().unwrap();
        assert_eq!((listing.subscriptions.len(), listing.requests), (2, 1));
    }

    #[test]
    fn several_are_complete_when_two_passes_in_a_row_see_the_same_ids() {
        let mut reading = Reading::default();
        assert_eq!(pass(&mut reading, &[&["a"], &["b"]]), Ok(None));
        assert_eq!(pass(&mut reading, &[&["a"], &["c"]]), Ok(None));
        let listing = pass(&mut reading, &[&["c"], &["a"]]).unwrap().unwrap();
        assert_eq!((listing.subscriptions.len(), listing.requests), (2, 6));
    }

    #[test]
    fn it_has_an_end() {
        let mut reading = Reading::default();
        for number in 1..MAX_PASSES {
            assert_eq!(pass(&mut reading, &[&["a"], &[&number.to_string()]]), Ok(None));
        }
        assert!(pass(&mut reading, &[&["a"], &["x"]]).is_err(), "it never settles");
        let mut reading = Reading::default();
        for _ in 1..MAX_PAGES {
            assert_eq!(reading.take_in(Vec::new(), After::Page), Ok(None));
        }
        assert!(reading.take_in(Vec::new(), After::Page).is_err(), "too many pages");
        let many: Vec<_> = (0..=MAX_ITEMS).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(Reading::default().take_in(page(&many), After::Nothing).is_err(), "too many items");
    }

    #[test]
    fn a_link_leads_to_one_page_only() {
        let mut reading = Reading::default();
        let link = Url::parse("https://api.example.com/hooks?after=a").unwrap();
        reading.take_in(page(&["a"]), After::Link(link.clone())).unwrap();
        assert_eq!((reading.link(), reading.page()), (Some(&link), 2));
        reading.take_in(page(&["b"]), After::Nothing).unwrap();
        assert_eq!((reading.link(), reading.page()), (None, 1), "the second pass");
    }

    #[test]
    fn only_what_may_pass_lets_it_go_on() {
        let status = |code| CallFailure::Status { code, retry_after: None, missing: false };
        for code in [401, 408, 429, 500, 503] {
            assert!(goes_on_after(&status(code)), "{code}");
        }
        for code in [400, 403, 404, 422] {
            assert!(!goes_on_after(&status(code)), "{code}");
        }
        assert!(!goes_on_after(&CallFailure::Unreadable { what: "no list".into() }));
    }
}
