//! What people see of tokens in deliveries.

use super::super::observed::{self, Candidate, Known, Observed, Sighting, Whose, whose};
use super::super::status::{self, Rotated};
use super::conditions::Shown;
use super::*;
use crate::api::{Condition, ConditionStatus, ConditionType};
use ConditionStatus::{False, True, Unknown};

const OVERLAP: i64 = 2 * HOUR;

/// A subscription whose deliveries a receiver takes in, with its token in place for an hour.
fn received() -> Shown {
    let mut shown = Shown::settled();
    shown.observed = Some(Observed::default());
    shown.status.last_rotated_time = Some(at(-HOUR));
    shown.status = shown.present();
    shown
}

impl Shown {
    fn sees(&mut self, fingerprint: &str, seconds: i64, retired: bool) {
        let (status, observed) = (&self.status, self.observed.as_mut().unwrap());
        let known = Known {
            carried: status.token_fingerprint.as_deref(),
            applied: status.last_rotated_time,
            overlap: Duration::from_secs(OVERLAP.unsigned_abs()),
        };
        observed.take_in(&Sighting { fingerprint, at: at(seconds), retired }, &known);
        self.now = moment(seconds.max(0));
        self.status = self.present();
    }

    /// A new token is applied.
    fn rotates(&mut self, fingerprint: &str, seconds: i64) {
        self.now = moment(seconds);
        let minted = self.now;
        let held =
            HeldToken { fingerprint: fingerprint.into(), minted, expires: None, confirmed: minted.wall };
        if let Some(before) = self.status.token_fingerprint.as_deref().filter(|before| *before != fingerprint)
        {
            self.observed.as_mut().unwrap().replaced(before, at(seconds));
        }
        let rotated = Rotated {
            id: "w1",
            origin: ORIGIN,
            ownership: Ownership::Created,
            held: &held,
            digest: DIGEST,
            secrets: None,
            handled_request: None,
            at: at(seconds),
        };
        self.status = status::rotated(&self.status, &rotated);
        self.status = self.present();
    }

    /// Another process goes on with what is on record.
    fn restarts(&mut self, seconds: i64) {
        self.now = moment(seconds);
        self.observed = Some(Observed::resumed(&self.status, at(seconds)));
        self.status = self.present();
    }

    fn observed(&self) -> Condition {
        observed::shown(&self.status.conditions).unwrap().clone()
    }

    fn shows(&self) -> (ConditionStatus, Reason) {
        let condition = self.observed();
        (condition.status, condition.reason)
    }
}

const AWAITING: (ConditionStatus, Reason) = (Unknown, Reason::AwaitingDelivery);
const SEEN: (ConditionStatus, Reason) = (True, Reason::DeliverySeen);
const OLD_STILL: (ConditionStatus, Reason) = (False, Reason::OldTokenStillSeen);

#[test]
fn it_is_shown_where_a_receiver_is_named_and_nowhere_else() {
    let shown = |shown: &Shown| observed::shown(&shown.present().conditions).is_some();
    assert!(!shown(&Shown::settled()));
    let mut received = received();
    assert!(shown(&received));
    received.observed = None;
    assert!(!shown(&received), "the receiver is no longer named");
}

#[test]
fn a_delivery_with_the_token_in_place_is_seen_and_each_new_token_is_waited_for_again() {
    let mut shown = received();
    assert_eq!(shown.shows(), AWAITING);
    shown.sees(OLD, 10, false);
    assert_eq!(shown.shows(), SEEN);
    assert_eq!(shown.observed().last_transition_time, at(10), "when it was seen first");
    let recorded = shown.status.clone();
    shown.sees(OLD, 4_000, false);
    assert_eq!(shown.status, recorded, "no write for each delivery");
    shown.rotates(NEW, 5_000);
    assert_eq!(shown.shows(), AWAITING);
    shown.sees(OLD, 5_010, false);
    assert_eq!(shown.shows(), AWAITING, "a repeated older delivery");
    shown.sees(NEW, 5_020, false);
    assert_eq!(shown.shows(), SEEN);
    shown.rotates(NEW, 6_000);
    assert_eq!(shown.shows(), SEEN, "applied again, and still the same token");
}

#[test]
fn a_delivery_may_be_faster_than_the_record_of_its_token() {
    let mut shown = received();
    shown.sees(OLD, 10, false);
    shown.sees(NEW, 20, false);
    assert_eq!(shown.shows(), SEEN);
    shown.rotates(NEW, 30);
    assert_eq!(shown.shows(), SEEN);
    assert_eq!(shown.observed().last_transition_time, at(30), "of the new token");
}

#[test]
fn an_old_token_counts_when_the_overlap_and_a_minute_are_over() {
    for (after, wanted) in [(-1, AWAITING), (60, AWAITING), (61, OLD_STILL)] {
        let mut shown = received();
        shown.rotates(NEW, 0);
        shown.sees(OLD, OVERLAP + after, true);
        assert_eq!(shown.shows(), wanted, "{after} s after the overlap");
    }
    let mut shown = received();
    shown.rotates(NEW, 0);
    shown.sees(OLD, OVERLAP + 61, false);
    assert_eq!(shown.shows(), AWAITING, "one that the gate accepts is no harm");
}

/// With tokens of a few seconds the one before is not the one that comes late.
#[test]
fn each_token_has_an_overlap_of_its_own() {
    let mut shown = received();
    for number in 0..100 {
        shown.rotates(&format!("token-{number}"), number * 20);
    }
    // It was replaced longer ago than this process remembers; the gate says that its overlap is over.
    shown.sees("token-3", 2_100, true);
    assert_eq!(shown.shows(), OLD_STILL);
    let mut shown = received();
    shown.rotates("token-0", 0);
    shown.rotates("token-1", 3_600);
    shown.sees("token-0", OVERLAP + 3_600, true);
    assert_eq!(shown.shows(), AWAITING, "it was replaced an hour later than the first");
    shown.sees(OLD, OVERLAP + 3_600, true);
    assert_eq!(shown.shows(), OLD_STILL);
}

#[test]
fn a_slow_fan_out_is_no_old_token() {
    let mut shown = received();
    // The others have moved on long ago, and the gate knows no better than to refuse it.
    shown.sees(OLD, 10 * HOUR, true);
    assert_eq!(shown.shows(), AWAITING);
}

#[test]
fn old_tokens_are_over_when_only_the_new_one_has_come_for_an_hour() {
    let mut shown = received();
    shown.rotates(NEW, 0);
    shown.sees(NEW, 10, false);
    for hour in 3..10 {
        shown.sees(OLD, hour * HOUR, true);
        assert_eq!(shown.shows(), OLD_STILL);
        shown.sees(NEW, hour * HOUR + 1_800, false);
        assert_eq!(shown.shows(), OLD_STILL, "both come: it goes neither back nor forth");
    }
    let since = shown.observed().last_transition_time;
    assert_eq!(since, at(3 * HOUR));
    shown.rotates("newer", 9 * HOUR + 2_000);
    assert_eq!(shown.shows(), OLD_STILL, "another rotation does not help");
    shown.sees("newer", 11 * HOUR, false);
    assert_eq!(shown.shows(), SEEN);
}

#[test]
fn a_restart_changes_nothing_that_is_shown() {
    let mut shown = received();
    shown.restarts(5);
    assert_eq!(shown.shows(), AWAITING);
    shown.sees(OLD, 10, false);
    let recorded = shown.status.clone();
    shown.restarts(20);
    assert_eq!(shown.status, recorded);
    shown.rotates(NEW, 30);
    assert_eq!(shown.shows(), AWAITING, "what was seen was another token");
    shown.sees(OLD, 30 + OVERLAP + 61, true);
    assert_eq!(shown.shows(), OLD_STILL);
    let recorded = shown.status.clone();
    shown.restarts(5 * HOUR);
    assert_eq!(shown.status, recorded);
    shown.sees(NEW, 5 * HOUR + 10, false);
    assert_eq!(shown.status, recorded, "the old one may still come, too");
    shown.sees(OLD, 5 * HOUR + 20, true);
    assert_eq!(shown.status, recorded);
    shown.sees(NEW, 7 * HOUR, false);
    assert_eq!(shown.shows(), SEEN);
}

/// What was replaced before a restart is known no better than by the gate.
#[test]
fn after_a_restart_the_gate_says_which_token_is_old() {
    let mut shown = received();
    shown.rotates(NEW, 0);
    shown.restarts(10);
    shown.sees(OLD, 60, true);
    assert_eq!(shown.shows(), AWAITING);
    shown.sees(OLD, 61, true);
    assert_eq!(shown.shows(), OLD_STILL);
}

#[test]
fn deliveries_that_cannot_be_told_apart_are_said_so() {
    let vague = (Unknown, Reason::NotAttributable);
    let mut shown = received();
    shown.observed.as_mut().unwrap().take_in_vaguely();
    shown.status = shown.present();
    assert_eq!(shown.shows(), vague);
    let recorded = shown.status.clone();
    shown.restarts(10);
    assert_eq!(shown.status, recorded);
    shown.rotates(NEW, 20);
    assert_eq!(shown.shows(), vague, "that does not change with the token");
    shown.sees(NEW, 30, false);
    assert_eq!(shown.shows(), SEEN);
    shown.observed.as_mut().unwrap().take_in_vaguely();
    shown.status = shown.present();
    assert_eq!(shown.shows(), SEEN, "it has been seen");
}

#[test]
fn it_never_changes_whether_the_subscription_is_ready() {
    let mut shown = received();
    let others = |shown: &Shown| {
        let mut conditions = shown.status.conditions.clone();
        conditions.retain(|condition| condition.kind != ConditionType::TokenObserved);
        conditions
    };
    let before = others(&shown);
    shown.sees("unknown", HOUR, true);
    assert_eq!((shown.shows(), others(&shown)), (OLD_STILL, before));
}

#[test]
fn people_hear_of_what_is_new_and_not_of_each_token() {
    let mut shown = received();
    let mut news = Vec::new();
    let mut hears = |shown: &mut Shown, fingerprint: &str, seconds: i64, retired: bool| {
        let was = shown.observed();
        let observed = shown.observed.clone();
        shown.sees(fingerprint, seconds, retired);
        let is = shown.observed();
        let mut now = shown.observed.clone().unwrap();
        let verdict = (is.status, is.reason, is.message);
        if now.is_news(Some(&was), &verdict) {
            news.push((seconds, verdict.1));
        }
        assert_ne!(observed, None);
        shown.observed = Some(now);
    };
    hears(&mut shown, OLD, 10, false);
    hears(&mut shown, OLD, 20, false);
    shown.rotates(NEW, 30);
    hears(&mut shown, NEW, 40, false);
    hears(&mut shown, OLD, 3 * HOUR, true);
    hears(&mut shown, OLD, 4 * HOUR, true);
    hears(&mut shown, NEW, 6 * HOUR, false);
    let wanted =
        [(10, Reason::DeliverySeen), (3 * HOUR, Reason::OldTokenStillSeen), (6 * HOUR, Reason::DeliverySeen)];
    assert_eq!(news, wanted);
}

#[test]
fn a_delivery_is_of_the_one_it_names_or_of_the_only_one_with_its_event() {
    let candidate = |id, name, action| Candidate { id, name, action };
    let several = [
        candidate(1, "a", Some("created")),
        candidate(2, "b", Some("changed")),
        candidate(3, "c", Some("changed")),
    ];
    let of = |named, event| whose(several.into_iter(), named, event);
    assert_eq!(of(Some("b"), Some("created")), Whose::Of(2), "what it names counts");
    assert_eq!(of(Some("z"), Some("created")), Whose::Nobodys, "somebody else's");
    assert_eq!(of(None, Some("created")), Whose::Of(1));
    assert_eq!(of(None, Some("changed")), Whose::OneOf(vec![2, 3]));
    assert_eq!(of(None, Some("deleted")), Whose::Nobodys);
    assert_eq!(of(None, None), Whose::OneOf(vec![1, 2, 3]));
    let one = |action, event| whose([candidate(1, "a", action)].into_iter(), None, event);
    assert_eq!(one(Some("created"), None), Whose::Of(1));
    assert_eq!(one(None, Some("created")), Whose::Of(1), "a provider whose webhooks have no action");
    assert_eq!(one(Some("created"), Some("changed")), Whose::Nobodys);
    assert_eq!(whose(std::iter::empty::<Candidate<'_, u8>>(), None, None), Whose::Nobodys);
}

/// Whether it is unusual at this time that the token in place has not been seen, when the receiver has
/// taken a delivery in at that one.
fn is_unusual(shown: &Shown, taken: Option<i64>, seconds: i64) -> bool {
    let carried = shown.status.token_fingerprint.as_deref().unwrap();
    shown.observed.as_ref().unwrap().is_unusually_silent(carried, taken.map(at), at(seconds))
}

#[test]
fn a_token_that_is_not_seen_for_longer_than_usual_is_unusual() {
    let mut shown = received();
    let carried = shown.status.token_fingerprint.clone().unwrap();
    // It is delivered to every three hours.
    for hours in [0, 3, 6] {
        shown.sees(&carried, hours * HOUR, false);
    }
    shown.rotates("t2", 6 * HOUR + 60);
    let last = Some(11 * HOUR);
    assert!(!is_unusual(&shown, last, 12 * HOUR), "six hours are usual");
    assert!(is_unusual(&shown, last, 13 * HOUR));
    assert!(!is_unusual(&shown, None, 13 * HOUR), "nothing has come from anybody");
    assert!(!is_unusual(&shown, Some(6 * HOUR), 13 * HOUR), "nor since the rotation");
    // Another rotation does not begin it anew; a delivery does.
    shown.rotates("t3", 12 * HOUR);
    assert!(is_unusual(&shown, last, 13 * HOUR));
    shown.sees("t3", 13 * HOUR, false);
    assert!(!is_unusual(&shown, last, 100 * HOUR));
    shown.rotates("t4", 14 * HOUR);
    assert!(!is_unusual(&shown, Some(15 * HOUR), 16 * HOUR), "counted from its own rotation");
}

#[test]
fn where_nothing_is_known_of_before_a_day_is_usual_and_an_hour_always_is() {
    let mut shown = received();
    shown.rotates("t2", HOUR);
    assert!(!is_unusual(&shown, Some(20 * HOUR), 25 * HOUR));
    assert!(is_unusual(&shown, Some(20 * HOUR), 25 * HOUR + 1));
    let mut busy = received();
    let carried = busy.status.token_fingerprint.clone().unwrap();
    for minute in 0..10 {
        busy.sees(&carried, 60 * minute, false);
    }
    busy.rotates("t2", HOUR);
    assert!(!is_unusual(&busy, Some(2 * HOUR), 2 * HOUR));
    assert!(is_unusual(&busy, Some(2 * HOUR), 2 * HOUR + 1));
    // Old tokens are deliveries, too, and no sign of the new one.
    busy.sees(&carried, 2 * HOUR + 10, false);
    assert!(is_unusual(&busy, Some(2 * HOUR), 9 * HOUR));
}

#[test]
fn a_restart_is_no_news() {
    let mut shown = received();
    shown.sees(OLD, 10, false);
    assert_eq!(shown.shows(), SEEN);
    let mut resumed = Observed::resumed(&shown.status, at(20));
    let verdict = observed::verdict(&shown.status, &resumed, "gupy");
    assert!(!resumed.is_news(None, &verdict), "people know that tokens are seen");
    let mut first = Observed::resumed(&received().status, at(20));
    assert!(first.is_news(None, &verdict));
}

#[test]
fn a_delivery_may_be_faster_than_the_record_of_each_token() {
    let mut shown = received();
    shown.rotates("second", 10);
    shown.sees("third", 20, false);
    shown.rotates("third", 30);
    assert_eq!(shown.shows(), SEEN);
}

/// Whether an old token counts as late when it is refused after so many others, of one second each.
fn is_late_after(others: i64) -> bool {
    let mut shown = received();
    for number in 0..others {
        shown.rotates(&format!("t{number}"), number);
    }
    shown.sees(OLD, 120, true);
    shown.shows() == OLD_STILL
}

#[test]
fn eight_tokens_before_the_one_in_place_are_remembered() {
    assert!(!is_late_after(8), "its own overlap counts");
    assert!(is_late_after(9), "of one that is forgotten the gate has found that it is over");
}

#[test]
fn a_token_that_comes_back_is_remembered_once_and_the_others_stay() {
    let mut shown = received();
    for (fingerprint, seconds) in [(NEW, 0), (OLD, 10), (NEW, 20)] {
        shown.rotates(fingerprint, seconds);
    }
    shown.sees(OLD, 20 + OVERLAP + 60, true);
    assert_eq!(shown.shows(), AWAITING, "it was replaced a second time");
    shown.sees(OLD, 20 + OVERLAP + 61, true);
    assert_eq!(shown.shows(), OLD_STILL);
}

#[test]
fn old_tokens_are_over_after_exactly_an_hour_of_the_new_one() {
    let late = OVERLAP + 61;
    for (quiet, wanted) in [(HOUR - 1, OLD_STILL), (HOUR, SEEN)] {
        let mut shown = received();
        shown.rotates(NEW, 0);
        shown.sees(OLD, late, true);
        shown.sees(NEW, late + quiet, false);
        assert_eq!(shown.shows(), wanted, "{quiet} s");
    }
}

#[test]
fn a_delivery_at_the_moment_of_the_rotation_says_nothing_of_the_new_token() {
    let mut shown = received();
    shown.rotates("t2", HOUR);
    assert!(!is_unusual(&shown, Some(HOUR), 26 * HOUR));
    assert!(is_unusual(&shown, Some(HOUR + 1), 26 * HOUR));
}

/// What happened later by the old clock happened now.
#[test]
fn a_clock_that_is_set_back_leaves_nothing_seen_in_the_future() {
    let mut shown = received();
    shown.rotates(NEW, HOUR);
    shown.sees(OLD, 4 * HOUR, true);
    assert_eq!(shown.shows(), OLD_STILL);
    shown.observed.as_mut().unwrap().clamp(at(0));
    shown.sees(NEW, HOUR, false);
    assert_eq!(shown.shows(), SEEN, "an hour later by the clock that is right");
}

#[test]
fn a_week_without_the_new_token_is_unusual_however_seldom_anything_comes() {
    let mut shown = received();
    let carried = shown.status.token_fingerprint.clone().unwrap();
    for days in [0, 5] {
        shown.sees(&carried, days * 24 * HOUR, false);
    }
    let rotated = 6 * 24 * HOUR;
    shown.rotates("t2", rotated);
    let week = 7 * 24 * HOUR;
    assert!(!is_unusual(&shown, Some(rotated + 1), rotated + week));
    assert!(is_unusual(&shown, Some(rotated + 1), rotated + week + 1));
}
