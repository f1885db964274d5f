//! A listing that is being read, page by page.
//!
//! Pages shift while they are read: what is deleted from the first page moves something from the
//! second to the first, and nobody sees it. So a listing of several pages is complete when two
//! passes in a row saw the same ids. One that took a single request is a single moment's picture,
//! which cannot shift, and is complete at once.
//!
//! What has been read is kept between the pages, so that a listing goes on at the page that failed. Of
//! each subscription that is its id and what it is about, in digests; what it weighs has a limit.

use url::Url;

use super::inventory::{Gathered, Inventory, Listed};
use super::outcome::{CallFailure, Listing, RemoteSubscription};

/// The most pages of one pass.
pub const MAX_PAGES: u32 = 1_000;
/// The most subscriptions of one pass.
pub const MAX_ITEMS: usize = 100_000;
/// The most passes.
pub const MAX_PASSES: u32 = 4;
/// The most bytes of all pages of one pass.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;
/// The most bytes of all ids of one pass.
pub const MAX_ID_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of one id.
pub const MAX_ID_LENGTH: usize = 256;
/// The most bytes of a link to the next page.
pub const MAX_LINK_LENGTH: usize = 8 * 1024;
/// The most bytes that a listing takes while it is read, or afterwards: see [`Reading::weight`].
pub const MAX_WEIGHT: usize = 24 * 1024 * 1024;

/// What has been read of a listing so far.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pass: Gathered,
    /// Digest of the ids that the pass before saw.
    before: Option<[u8; 32]>,
    /// Bytes of the pages of this pass.
    bytes: usize,
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

    /// Whether anything would be lost by beginning again.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.requests > 0
    }

    /// How many subscriptions this pass has shown.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.pass.len()
    }

    /// How many bytes it takes; never more than [`MAX_WEIGHT`].
    #[must_use]
    pub fn weight(&self) -> usize {
        self.pass.weight() + self.link.as_ref().map_or(0, |link| link.as_str().len())
    }

    /// Counts the bytes of a page that has arrived, before it is read.
    ///
    /// # Errors
    /// [`CallFailure::Unreadable`] for a listing whose pages take too many.
    pub fn arrived(&mut self, bytes: usize) -> Result<(), CallFailure> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            let most = MAX_BYTES / (1024 * 1024);
            return Err(unreadable(format!("the pages of the list take more than {most} MiB")));
        }
        Ok(())
    }

    /// Takes in what the page showed. The listing comes back when that made it complete. That takes
    /// as long as what was read is large.
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
        for remote in page {
            self.keep(&remote)?;
        }
        if after != After::Nothing {
            if self.pages >= MAX_PAGES {
                return Err(unreadable(format!("the list has more than {MAX_PAGES} pages")));
            }
            if let After::Link(link) = after {
                if link.as_str().len() > MAX_LINK_LENGTH {
                    let what = format!("the link to the next page is longer than {MAX_LINK_LENGTH} bytes");
                    return Err(unreadable(what));
                }
                self.link = Some(link);
            }
            return Ok(None);
        }
        self.passes += 1;
        self.bytes = 0;
        let shown = Inventory::from(std::mem::take(&mut self.pass));
        let is_single = std::mem::take(&mut self.pages) == 1;
        if is_single {
            return Ok(Some(Listing { shown, requests: self.requests }));
        }
        let ids = shown.digest_of_ids();
        if self.before == Some(ids) {
            return Ok(Some(Listing { shown, requests: self.requests }));
        }
        if self.passes >= MAX_PASSES {
            return Err(unreadable(format!(
                "{MAX_PASSES} passes over the list never saw the same ids twice in a row"
            )));
        }
        self.before = Some(ids);
        Ok(None)
    }

    /// Keeps of a subscription what will be needed, and none of its texts.
    fn keep(&mut self, remote: &RemoteSubscription) -> Result<(), CallFailure> {
        if self.pass.len() >= MAX_ITEMS {
            return Err(unreadable(format!("the list has more than {MAX_ITEMS} subscriptions")));
        }
        if self.pass.id_bytes() + remote.id.len() > MAX_ID_BYTES {
            let most = MAX_ID_BYTES / (1024 * 1024);
            return Err(unreadable(format!("the ids in the list take more than {most} MiB")));
        }
        let listed = Listed::new(remote.action.as_deref(), remote.postback_url.as_deref(), remote.active);
        if remote.id.len() > MAX_ID_LENGTH || !self.pass.push(&remote.id, listed, MAX_ITEMS, MAX_ID_BYTES) {
            return Err(unreadable(format!("an id in the list is longer than {MAX_ID_LENGTH} bytes")));
        }
        Ok(())
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
        assert_eq!((listing.shown.len(), listing.requests), (2, 1));
    }

    #[test]
    fn several_are_complete_when_two_passes_in_a_row_see_the_same_ids() {
        let mut reading = Reading::default();
        assert_eq!(pass(&mut reading, &[&["a"], &["b"]]), Ok(None));
        assert_eq!(pass(&mut reading, &[&["a"], &["c"]]), Ok(None));
        let listing = pass(&mut reading, &[&["c"], &["a"]]).unwrap().unwrap();
        assert_eq!((listing.shown.len(), listing.requests), (2, 6));
    }

    #[test]
    fn one_that_never_settles_has_an_end() {
        let mut reading = Reading::default();
        for number in 1..MAX_PASSES {
            assert_eq!(pass(&mut reading, &[&["a"], &[&number.to_string()]]), Ok(None));
        }
        assert!(pass(&mut reading, &[&["a"], &["x"]]).is_err());
    }

    #[test]
    fn what_has_been_read_is_counted_from_the_first_page() {
        let mut reading = Reading::default();
        assert_eq!((reading.has_begun(), reading.shown(), reading.weight()), (false, 0, 0));
        reading.take_in(page(&["a", "b", "c"]), After::Page).unwrap();
        assert_eq!((reading.has_begun(), reading.shown()), (true, 3));
        let read = reading.weight();
        assert!(read > 3);
        let link = Url::parse("https://api.example.com/hooks?after=a").unwrap();
        reading.take_in(Vec::new(), After::Link(link.clone())).unwrap();
        assert_eq!(reading.weight(), read + link.as_str().len());
        reading.take_in(Vec::new(), After::Nothing).unwrap();
        assert_eq!((reading.has_begun(), reading.shown()), (true, 0), "the second pass");
    }

    #[test]
    fn ids_take_eight_mebibytes_at_most_and_256_bytes_each() {
        let id = |number: usize| RemoteSubscription {
            id: format!("{number:0>256}"),
            action: None,
            postback_url: None,
            active: None,
        };
        let mut reading = Reading::default();
        let most = MAX_ID_BYTES / MAX_ID_LENGTH;
        assert_eq!(reading.take_in((0..most).map(id).collect(), After::Page), Ok(None));
        assert_eq!(
            reading.take_in(page(&["x"]), After::Page).unwrap_err().to_string(),
            "the provider's answer cannot be read: the ids in the list take more than 8 MiB"
        );
        assert_eq!(MAX_ID_BYTES, 8 * 1024 * 1024);
    }

    #[test]
    fn a_link_may_be_as_long_as_is_said() {
        let link = |length: usize| {
            let begin = "https://example.com/";
            Url::parse(&format!("{begin}{}", "x".repeat(length - begin.len()))).unwrap()
        };
        let mut reading = Reading::default();
        assert_eq!(MAX_LINK_LENGTH, 8_192);
        assert_eq!(reading.take_in(Vec::new(), After::Link(link(MAX_LINK_LENGTH))), Ok(None));
        assert!(reading.take_in(Vec::new(), After::Link(link(MAX_LINK_LENGTH + 1))).is_err());
    }

    #[test]
    fn it_has_an_end() {
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
    fn of_long_texts_nothing_is_kept_and_of_ids_no_more_than_is_said() {
        let long = |id: String| RemoteSubscription {
            id,
            action: Some("a".repeat(5_000)),
            postback_url: Some(format!("https://example.com/{}", "u".repeat(5_000))),
            active: Some(true),
        };
        let mut reading = Reading::default();
        for page in 0..100 {
            let items = (0..100).map(|number| long(format!("id-{page}-{number}"))).collect();
            assert_eq!(reading.take_in(items, After::Page), Ok(None));
        }
        assert!(reading.weight() < 2 * 1024 * 1024, "{} bytes of 100 MB of texts", reading.weight());

        let id = |page: usize, number: usize| format!("{:0>256}", page * 1_000 + number);
        let mut reading = Reading::default();
        let mut heaviest = 0;
        let failed = (0..100).find_map(|page| {
            let items = (0..1_000).map(|number| long(id(page, number))).collect();
            let taken = reading.take_in(items, After::Page);
            heaviest = heaviest.max(reading.weight());
            taken.err()
        });
        let what = failed.map(|failure| failure.to_string());
        assert_eq!(
            what.as_deref(),
            Some("the provider's answer cannot be read: the ids in the list take more than 8 MiB")
        );
        assert!(heaviest <= MAX_WEIGHT, "{heaviest}");

        let too_long = Reading::default().take_in(vec![long("x".repeat(257))], After::Nothing);
        assert!(too_long.unwrap_err().to_string().ends_with("an id in the list is longer than 256 bytes"));
    }

    #[test]
    fn the_longest_listing_takes_no_more_than_is_said() {
        let item = |number: usize| RemoteSubscription {
            id: format!("{number:0>80}"),
            action: None,
            postback_url: Some(String::new()),
            active: None,
        };
        let mut reading = Reading::default();
        for page in 0..MAX_ITEMS / 1_000 {
            let items = (0..1_000).map(|number| item(page * 1_000 + number)).collect();
            reading.take_in(items, After::Page).unwrap();
            assert!(reading.weight() <= MAX_WEIGHT, "{}", reading.weight());
        }
        reading.take_in(Vec::new(), After::Nothing).unwrap();
        assert!(reading.weight() < 1_024, "what a pass has shown goes with it");
        let all = (0..MAX_ITEMS).map(item).collect();
        let listing = Reading::default().take_in(all, After::Nothing).unwrap().unwrap();
        assert!(listing.shown.weight() <= MAX_WEIGHT, "{}", listing.shown.weight());
        let more = (0..=MAX_ITEMS).map(item).collect();
        assert!(Reading::default().take_in(more, After::Nothing).is_err());
    }

    #[test]
    fn the_bytes_of_all_pages_of_a_pass_are_bounded() {
        let mut reading = Reading::default();
        for _ in 0..128 {
            reading.arrived(1024 * 1024).unwrap();
        }
        assert_eq!(
            reading.arrived(1).unwrap_err().to_string(),
            "the provider's answer cannot be read: the pages of the list take more than 128 MiB"
        );
        let mut reading = Reading::default();
        for _ in 0..2 {
            reading.arrived(MAX_BYTES).unwrap();
            reading.take_in(page(&["a"]), After::Page).unwrap();
            reading.take_in(page(&["b"]), After::Nothing).unwrap();
        }
    }

    #[test]
    fn a_link_that_is_too_long_is_not_kept() {
        let link = Url::parse(&format!("https://example.com/{}", "x".repeat(MAX_LINK_LENGTH))).unwrap();
        let mut reading = Reading::default();
        assert!(reading.take_in(Vec::new(), After::Link(link)).is_err());
        assert_eq!(reading.link(), None);
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
