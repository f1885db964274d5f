//! Which tokens came in, in whose deliveries: what shows that a new token has arrived at the platform,
//! and that an old one is still in use.
//!
//! What has been seen first is told at once, the same again at most every ten minutes. Everything is
//! bounded: what senders choose can neither fill the memory nor cause writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tokio::sync::Notify;

use super::clock::Clock;
use super::observer::{Fact, Observer};
use crate::api::SeenToken;
use crate::store::Owner;

/// How many events of a receiver are told apart; further ones are [`OTHER`].
pub const MOST_EVENTS: usize = 16;
/// How many tokens of a receiver are told apart; of more, the one that was seen last the longest time ago
/// goes.
pub const MOST_TOKENS: usize = 64;
/// How many subscriptions of a receiver are told apart for one token; what comes with further names is
/// nobody's.
pub const MOST_SUBSCRIPTIONS: usize = 1_024;
/// How many subscriptions a status names for one token with one event.
const MOST_NAMED: usize = 16;
/// All events that are not told apart, and those that nobody can name.
pub const OTHER: &str = "other";
/// The same is told again after so long.
const ROUNDED_TO: TimeDelta = TimeDelta::minutes(10);
/// How much of an event's name is kept: as much as a status may hold.
const LONGEST_EVENT: usize = 128;
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// A token that came in, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The receiver.
    pub owner: Owner,
    /// Fingerprint of the token.
    pub fingerprint: String,
    /// The subscription that the delivery named.
    pub subscription: Option<String>,
    /// The event, where it is known and one of those that are told apart.
    pub event: Option<String>,
    /// When it came.
    pub at: DateTime<Utc>,
    /// It was refused: the token is no longer accepted, and only known again.
    pub retired: bool,
}

/// Whose a delivery was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Subscription(String),
    Event(String),
    Nobodys,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: DateTime<Utc>,
    /// Up to when it has been told.
    told: Option<DateTime<Utc>>,
}

/// What the status shows of one token with one event.
#[derive(Clone, Debug)]
struct Shown {
    last: DateTime<Utc>,
    /// The subscriptions that were named, and when last.
    named: BTreeMap<String, DateTime<Utc>>,
    unnamed: bool,
    retired: bool,
}

impl Shown {
    /// What was seen with accepted ones says nothing of refused ones, and the other way round.
    fn take_in(&mut self, whose: &Whose, retired: bool, now: DateTime<Utc>) {
        if self.retired != retired {
            *self = Self { last: self.last, named: BTreeMap::new(), unnamed: false, retired };
        }
        self.last = self.last.max(now);
        let Whose::Subscription(name) = whose else {
            self.unnamed = true;
            return;
        };
        self.named.insert(name.clone(), now);
        if self.named.len() > MOST_NAMED {
            let oldest = self.named.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|oldest| self.named.remove(&oldest));
        }
    }
}

/// What was seen of one token: of each delivery's owner, apart for accepted and refused ones.
#[derive(Clone, Debug)]
struct Token {
    seen: BTreeMap<(Whose, bool), Seen>,
    /// For the status, by event.
    events: BTreeMap<String, Shown>,
    last: DateTime<Utc>,
    subscriptions: usize,
}

/// What was seen at one receiver.
#[derive(Debug)]
struct Receiver {
    owner: Owner,
    tokens: BTreeMap<String, Token>,
    events: BTreeSet<String>,
    has_news: bool,
}

impl Receiver {
    fn new(owner: Owner) -> Self {
        Self { owner, tokens: BTreeMap::new(), events: BTreeSet::new(), has_news: false }
    }

    /// The event by the name that it is told under.
    fn event(&mut self, event: Option<&str>) -> Option<String> {
        let event = event.filter(|event| !event.is_empty() && event.len() <= LONGEST_EVENT)?;
        if !self.events.contains(event) {
            if self.events.len() >= MOST_EVENTS {
                return None;
            }
            self.events.insert(event.to_owned());
        }
        Some(event.to_owned())
    }

    /// Takes a token in; returns whether there is something new to tell.
    fn take_in(
        &mut self,
        fingerprint: &str,
        event: Option<&str>,
        subscription: Option<&str>,
        retired: bool,
        now: DateTime<Utc>,
    ) -> bool {
        let event = self.event(event);
        if !self.tokens.contains_key(fingerprint) && self.tokens.len() >= MOST_TOKENS {
            let oldest = self.tokens.iter().min_by_key(|(_, token)| token.last);
            if let Some(oldest) = oldest.map(|(fingerprint, _)| fingerprint.clone()) {
                self.tokens.remove(&oldest);
            }
        }
        let token = self.tokens.entry(fingerprint.to_owned()).or_insert_with(|| Token {
            seen: BTreeMap::new(),
            events: BTreeMap::new(),
            last: now,
            subscriptions: 0,
        });
        token.last = token.last.max(now);
        let shown = event.clone().unwrap_or_else(|| OTHER.to_owned());
        let shown = token.events.entry(shown).or_insert_with(|| Shown {
            last: now,
            named: BTreeMap::new(),
            unnamed: false,
            retired,
        });
        shown.last = shown.last.max(now);
        let whose = match (subscription.filter(|name| is_name(name)), event) {
            (Some(name), _) => Whose::Subscription(name.to_owned()),
            // A name that no object can have is somebody else's, and no event makes it ours.
            (None, _) if subscription.is_some() => return false,
            (None, Some(event)) => Whose::Event(event),
            (None, None) => Whose::Nobodys,
        };
        shown.take_in(&whose, retired, now);
        let key = (whose, retired);
        if !token.seen.contains_key(&key) && matches!(key.0, Whose::Subscription(_)) {
            if token.subscriptions >= 2 * MOST_SUBSCRIPTIONS {
                return false;
            }
            token.subscriptions += 1;
        }
        let seen = token.seen.entry(key).or_insert(Seen { at: now, told: None });
        seen.at = seen.at.max(now);
        let is_news = seen.told.is_none_or(|told| rounded(told) < rounded(seen.at));
        self.has_news |= is_news;
        is_news
    }

    /// What has not been told.
    fn news(&mut self) -> Vec<News> {
        if !std::mem::take(&mut self.has_news) {
            return Vec::new();
        }
        let mut news = Vec::new();
        for (fingerprint, token) in &mut self.tokens {
            for ((whose, retired), seen) in &mut token.seen {
                if seen.told.is_some_and(|told| rounded(told) >= rounded(seen.at)) {
                    continue;
                }
                seen.told = Some(seen.at);
                let (subscription, event) = match whose {
                    Whose::Subscription(name) => (Some(name.clone()), None),
                    Whose::Event(event) => (None, Some(event.clone())),
                    Whose::Nobodys => (None, None),
                };
                news.push(News {
                    owner: self.owner.clone(),
                    fingerprint: fingerprint.clone(),
                    subscription,
                    event,
                    at: seen.at,
                    retired: *retired,
                });
            }
        }
        // What came first is told first.
        news.sort_by_key(|news| news.at);
        news
    }
}

/// The time as it is shown.
fn rounded(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(ROUNDED_TO).unwrap_or(time)
}

/// Whether an object can have this name (RFC 1123, as Kubernetes has it).
fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(inside)
}

/// Collects which tokens come in at the receivers of a process.
pub struct Evidence {
    clock: Arc<dyn Clock>,
    /// By uid.
    receivers: Mutex<HashMap<Arc<str>, Receiver>>,
    there_is_news: Notify,
}

impl Evidence {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, receivers: Mutex::default(), there_is_news: Notify::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Receiver>> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something new has been seen, and takes it. To be waited for by one task alone.
    pub async fn news(&self) -> Vec<News> {
        loop {
            let news: Vec<News> = self.lock().values_mut().flat_map(Receiver::news).collect();
            if !news.is_empty() {
                return news;
            }
            self.there_is_news.notified().await;
        }
    }

    /// What is shown in a receiver's status, the newest first, as seen by this gate. Equal until there is
    /// something new.
    #[must_use]
    pub fn tokens(&self, uid: &str, gate: &str) -> Vec<SeenToken> {
        let receivers = self.lock();
        let tokens = receivers.get(uid).into_iter().flat_map(|receiver| &receiver.tokens);
        let mut seen: Vec<SeenToken> = tokens
            .flat_map(|(fingerprint, token)| token.events.iter().map(move |event| (fingerprint, event)))
            .map(|(fingerprint, (event, shown))| SeenToken {
                gate: gate.to_owned(),
                fingerprint: fingerprint.clone(),
                event: event.clone(),
                last_seen: rounded(shown.last),
                subscriptions: shown.named.keys().cloned().collect(),
                unnamed: shown.unnamed,
                retired: shown.retired,
            })
            .collect();
        seen.sort_by(|one, other| {
            let key = |it: &SeenToken| (it.fingerprint.clone(), it.event.clone());
            other.last_seen.cmp(&one.last_seen).then_with(|| key(one).cmp(&key(other)))
        });
        seen.truncate(MOST_TOKENS);
        seen
    }

    /// Forgets receivers that are no longer there.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().retain(|uid, _| is_there(uid));
    }
}

impl Observer for Evidence {
    fn saw(&self, owner: &Owner, fact: Fact<'_>) {
        let (fingerprint, event, subscription, retired) = match fact {
            Fact::Accepted { fingerprint: Some(fingerprint), event, subscription } => {
                (fingerprint, event, subscription, false)
            }
            Fact::Refused { fingerprint: Some(fingerprint), subscription, .. } => {
                (fingerprint, None, subscription, true)
            }
            _ => return,
        };
        let now = self.clock.now();
        let is_news = {
            let mut receivers = self.lock();
            let receiver = receivers.entry(Arc::clone(&owner.uid));
            let receiver = receiver.or_insert_with(|| Receiver::new(owner.clone()));
            receiver.take_in(fingerprint, event, subscription, retired, now)
        };
        if is_news {
            self.there_is_news.notify_one();
        }
    }
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Evidence").field("receivers", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use std::time::Duration;

    use super::*;
    use crate::gate::clock::SteadyClock;
    use crate::gate::refusal::Refusal;

    fn owner(name: &str) -> Owner {
        Owner { namespace: "hr".into(), name: name.into(), uid: format!("uid-{name}").into() }
    }

    fn collecting() -> Evidence {
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Evidence::new(Arc::new(SteadyClock::starting(began)))
    }

    fn accepted<'a>(token: &'a str, event: Option<&'a str>, subscription: Option<&'a str>) -> Fact<'a> {
        Fact::Accepted { fingerprint: Some(token), event, subscription }
    }

    fn refused<'a>(token: Option<&'a str>, subscription: Option<&'a str>) -> Fact<'a> {
        Fact::Refused { reason: Refusal::RetiredToken, recognised: true, fingerprint: token, subscription }
    }

    /// What is told now, in short.
    fn told(evidence: &Evidence) -> Vec<String> {
        let news = evidence.news().now_or_never().unwrap_or_default();
        let short = |news: News| {
            let of = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            let how = if news.retired { "refused" } else { "accepted" };
            let (subscription, event) = (of(news.subscription), of(news.event));
            format!("{} {} {subscription} {event} {how}", news.owner.name, news.fingerprint)
        };
        news.into_iter().map(short).collect()
    }

    async fn pass(minutes: u64) {
        tokio::time::advance(Duration::from_secs(60 * minutes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_new_is_told_at_once_and_the_same_every_ten_minutes() {
        let evidence = collecting();
        let gupy = owner("gupy");
        evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
        evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
        assert_eq!(told(&evidence), ["gupy a first - accepted"]);
        for _ in 0..9 {
            evidence.saw(&gupy, accepted("a", Some("changed"), Some("first")));
            assert_eq!(told(&evidence), Vec::<String>::new());
            pass(1).await;
        }
        evidence.saw(&gupy, accepted("b", Some("created"), Some("first")));
        assert_eq!(told(&evidence), ["gupy b first - accepted"], "another token");
        pass(1).await;
        evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
        assert_eq!(told(&evidence), ["gupy a first - accepted"], "again after ten minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_told_by_its_subscription_or_else_by_its_event() {
        let evidence = collecting();
        let gupy = owner("gupy");
        for (subscription, event, wanted) in [
            (Some("first"), Some("created"), "gupy a first - accepted"),
            (None, Some("created"), "gupy a - created accepted"),
            (None, None, "gupy a - - accepted"),
        ] {
            evidence.saw(&gupy, accepted("a", event, subscription));
            assert_eq!(told(&evidence), [wanted]);
        }
        evidence.saw(&gupy, refused(Some("a"), Some("first")));
        assert_eq!(told(&evidence), ["gupy a first - refused"], "apart from accepted ones");
        evidence.saw(&owner("other"), accepted("a", None, Some("first")));
        assert_eq!(told(&evidence), ["other a first - accepted"]);
        // Nobody's token, or a name that no object has.
        evidence.saw(&gupy, Fact::Accepted { fingerprint: None, event: None, subscription: None });
        evidence.saw(&gupy, refused(None, Some("first")));
        evidence.saw(&gupy, Fact::TestEvent);
        for name in ["", "Upper", "with space", "../x", &"a".repeat(254)] {
            evidence.saw(&gupy, accepted("a", Some("never"), Some(name)));
        }
        assert_eq!(told(&evidence), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_news_is_woken() {
        let evidence = Arc::new(collecting());
        let waiting = tokio::spawn({
            let evidence = Arc::clone(&evidence);
            async move { evidence.news().await.len() }
        });
        pass(30).await;
        assert!(!waiting.is_finished());
        evidence.saw(&owner("gupy"), accepted("a", None, None));
        assert_eq!(waiting.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_senders_choose_is_bounded() {
        let evidence = collecting();
        let gupy = owner("gupy");
        for number in 0..10_000 {
            let (event, name) = (format!("event-{number}"), format!("name-{number}"));
            evidence.saw(&gupy, accepted("a", Some(&event), Some(&name)));
            evidence.saw(&gupy, accepted("a", Some(&event), None));
            evidence.saw(&gupy, refused(Some("a"), Some(&name)));
        }
        evidence.saw(&gupy, accepted("a", Some(&"e".repeat(129)), None));
        let told = told(&evidence);
        assert!(told.len() <= 2 * MOST_SUBSCRIPTIONS + MOST_EVENTS + 1, "{}", told.len());
        assert!(told.contains(&"gupy a - - accepted".to_owned()), "the others, together");
        let shown = evidence.tokens("uid-gupy", "gate");
        assert_eq!(shown.len(), MOST_EVENTS + 1);
        assert!(shown.iter().any(|seen| seen.event == OTHER));
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_names_the_subscriptions_that_were_seen_last_and_never_mixes_refused_with_accepted() {
        let evidence = collecting();
        let gupy = owner("gupy");
        let shown = || {
            let tokens = evidence.tokens("uid-gupy", "gate-0");
            let short = |seen: &SeenToken| {
                (seen.event.clone(), seen.subscriptions.join(" "), seen.unnamed, seen.retired)
            };
            tokens.iter().map(short).collect::<Vec<_>>()
        };
        let of = |event: &str, names: &str, unnamed, retired| {
            (event.to_owned(), names.to_owned(), unnamed, retired)
        };
        evidence.saw(&gupy, accepted("a", Some("created"), Some("second")));
        evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
        assert_eq!(shown(), [of("created", "first second", false, false)]);
        evidence.saw(&gupy, accepted("a", Some("created"), None));
        evidence.saw(&gupy, accepted("a", Some("created"), Some("NO NAME")));
        assert_eq!(shown(), [of("created", "first second", true, false)]);
        evidence.saw(&gupy, accepted("a", None, Some("third")));
        evidence.saw(&gupy, refused(Some("a"), Some("first")));
        assert_eq!(shown(), [of("created", "first second", true, false), of(OTHER, "first", false, true)]);
        for number in 0..=MOST_NAMED {
            pass(1).await;
            evidence.saw(&gupy, accepted("b", Some("created"), Some(&format!("n{number:02}"))));
        }
        let newest = evidence.tokens("uid-gupy", "gate-0").remove(0);
        assert_eq!((newest.subscriptions.len(), &*newest.subscriptions[0]), (MOST_NAMED, "n01"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_tokens_the_one_goes_that_was_seen_the_longest_time_ago() {
        let evidence = collecting();
        let gupy = owner("gupy");
        for number in 0..=MOST_TOKENS {
            pass(10).await;
            evidence.saw(&gupy, accepted(&format!("t{number:03}"), Some("created"), None));
            // The first is in use all the time.
            evidence.saw(&gupy, accepted("t000", Some("created"), None));
        }
        let shown = evidence.tokens("uid-gupy", "gate");
        let tokens: BTreeSet<&str> = shown.iter().map(|seen| seen.fingerprint.as_str()).collect();
        assert_eq!(tokens.len(), MOST_TOKENS);
        assert!(tokens.contains("t000") && !tokens.contains("t001") && tokens.contains("t064"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_shows_each_token_by_event_and_changes_every_ten_minutes_at_most() {
        let evidence = collecting();
        let gupy = owner("gupy");
        evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
        evidence.saw(&gupy, refused(Some("old"), None));
        let shown = evidence.tokens("uid-gupy", "gate-0");
        let short: Vec<_> =
            shown.iter().map(|seen| (&*seen.gate, &*seen.fingerprint, &*seen.event)).collect();
        assert_eq!(short, [("gate-0", "a", "created"), ("gate-0", "old", OTHER)]);
        for _ in 0..9 {
            pass(1).await;
            evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
            assert_eq!(evidence.tokens("uid-gupy", "gate-0"), shown);
        }
        pass(1).await;
        evidence.saw(&gupy, accepted("a", Some("created"), Some("first")));
        assert_ne!(evidence.tokens("uid-gupy", "gate-0"), shown);
        evidence.retain(|uid| uid != "uid-gupy");
        assert_eq!(evidence.tokens("uid-gupy", "gate-0"), []);
        assert_eq!(evidence.tokens("nobody", "gate-0"), []);
    }
}
