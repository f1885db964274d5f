//! Whether deliveries have been seen with the token in place: the condition `TokenObserved`.
//!
//! It tells what came in, and changes nothing else: that no delivery has come may only mean that
//! nothing has happened at the platform. What is recorded of it holds for the token on record, because
//! both are written together; so after a restart it goes on from there, and a rotation begins it again.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::time::add;
use crate::api::{Condition, ConditionStatus, ConditionType, Reason, SubscriptionStatus};

/// After the overlap, deliveries that were under way have so much time to arrive.
pub const GRACE: Duration = Duration::from_secs(60);
/// When for so long only the token in place has come, the old ones are over.
const QUIET: Duration = Duration::from_secs(3_600);
/// A token that has not been seen for twice as long as a subscription has been silent before is unusual,
/// within these bounds; where nothing is known of before, after [`USUAL`].
const UNUSUAL: (Duration, Duration) = (Duration::from_secs(3_600), Duration::from_secs(7 * 24 * 3_600));
const USUAL: Duration = Duration::from_secs(24 * 3_600);
/// How many tokens before the one in place are remembered.
const MOST_REMEMBERED: usize = 8;

/// A token that a gate has seen in a delivery of this subscription.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Its fingerprint.
    pub fingerprint: &'a str,
    /// When.
    pub at: DateTime<Utc>,
    /// The delivery was refused: the token is no longer accepted, and only known again.
    pub retired: bool,
}

/// What is known of a subscription when a token of it has been seen.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Fingerprint of the token in place.
    pub carried: Option<&'a str>,
    /// When it was applied last.
    pub applied: Option<DateTime<Utc>>,
    /// How long the token before it may still arrive.
    pub overlap: Duration,
}

/// What has been seen of a subscription's tokens, as far as this process remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The token in place, and when it was seen last.
    seen: Option<(String, DateTime<Utc>)>,
    /// One that is not on record yet: a delivery may be faster than the record of the apply.
    coming: Option<(String, DateTime<Utc>)>,
    /// When a token came last that ought not to come any more.
    late: Option<DateTime<Utc>>,
    /// A delivery came that may have been this subscription's.
    vague: bool,
    /// That tokens are seen has been told to people.
    told: bool,
    /// When a delivery of it was accepted last, with whatever token.
    last: Option<DateTime<Utc>>,
    /// The longest time between two of these.
    silence: Option<Duration>,
    /// Since when tokens have been applied of which none has been seen.
    unseen_since: Option<DateTime<Utc>>,
    /// Tokens before the one in place, and when each was replaced; the newest last.
    before: Vec<(String, DateTime<Utc>)>,
}

impl Observed {
    /// What a new process begins with: what is on record. Old tokens that came then are taken for some
    /// that come now, so that the condition does not go back and forth with each restart.
    #[must_use]
    pub fn resumed(status: &SubscriptionStatus, now: DateTime<Utc>) -> Self {
        let shown = shown(&status.conditions).map(|condition| condition.status);
        Self {
            late: (shown == Some(ConditionStatus::False)).then_some(now),
            told: shown == Some(ConditionStatus::True),
            ..Self::default()
        }
    }

    /// Another token has taken the place of this one.
    pub fn replaced(&mut self, fingerprint: &str, at: DateTime<Utc>) {
        self.before.retain(|(before, _)| before != fingerprint);
        self.before.push((fingerprint.to_owned(), at));
        if self.before.len() > MOST_REMEMBERED {
            self.before.remove(0);
        }
        if self.seen_at(fingerprint).is_some() || self.unseen_since.is_none() {
            self.unseen_since = Some(at);
        }
    }

    /// A token was seen in a delivery of this subscription.
    pub fn take_in(&mut self, sighting: &Sighting<'_>, known: &Known<'_>) {
        let Sighting { fingerprint, at, retired } = *sighting;
        if !retired {
            self.was_delivered(at);
        }
        if known.carried == Some(fingerprint) {
            // One that carries it and is refused says nothing of the subscription.
            if !retired {
                self.vague = false;
                self.seen = Some((fingerprint.to_owned(), at.max(self.seen_at(fingerprint).unwrap_or(at))));
            }
            return;
        }
        if retired {
            if self.is_late(fingerprint, at, known) {
                self.late = self.late.max(Some(at));
            }
        } else if self.before.iter().all(|(before, _)| before != fingerprint) {
            self.coming = Some((fingerprint.to_owned(), at));
        }
    }

    fn was_delivered(&mut self, at: DateTime<Utc>) {
        if let Some(silence) = self.last.and_then(|last| at.signed_duration_since(last).to_std().ok()) {
            self.silence = self.silence.max(Some(silence));
        }
        self.last = self.last.max(Some(at));
    }

    /// Whether no delivery has come with the token in place, or with one applied shortly before it, for
    /// longer than is usual for this subscription, although `taken` is when its receiver has accepted one
    /// last, of whomever.
    #[must_use]
    pub fn is_unusually_silent(
        &self,
        carried: &str,
        taken: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> bool {
        let Some(since) = self.unseen_since.filter(|_| self.seen_at(carried).is_none()) else {
            return false;
        };
        let usual = self.silence.map_or(USUAL, |silence| (silence * 2).clamp(UNUSUAL.0, UNUSUAL.1));
        taken.is_some_and(|taken| taken > since) && add(since, usual) < now
    }

    /// Whether tokens still come that ought not to come any more.
    #[must_use]
    pub fn old_still_comes(&self, carried: &str) -> bool {
        let seen = self.seen_at(carried);
        self.late.is_some_and(|late| seen.is_none_or(|seen| seen < add(late, QUIET)))
    }

    /// A delivery came in, and this subscription is one of several that it may have been of.
    pub fn take_in_vaguely(&mut self) {
        self.vague = true;
    }

    /// Whether a token that is no longer accepted ought not to have come any more.
    fn is_late(&self, fingerprint: &str, at: DateTime<Utc>, known: &Known<'_>) -> bool {
        let replaced = self.before.iter().find(|(before, _)| before == fingerprint).map(|(_, at)| *at);
        let until = match replaced {
            Some(replaced) => add(add(replaced, known.overlap), GRACE),
            // Replaced before this process can remember: the gate has found that its overlap is over.
            None => match self.before.first().map(|(_, replaced)| *replaced).or(known.applied) {
                Some(replaced) => add(replaced, GRACE),
                None => return false,
            },
        };
        at > until
    }

    fn seen_at(&self, carried: &str) -> Option<DateTime<Utc>> {
        let of_carried = |seen: &&(String, DateTime<Utc>)| seen.0 == carried;
        let seen = [&self.seen, &self.coming].into_iter().flatten().filter(of_carried);
        seen.map(|(_, at)| *at).max()
    }

    /// The clock was set back to this time.
    pub fn clamp(&mut self, now: DateTime<Utc>) {
        let seen = [&mut self.seen, &mut self.coming].into_iter().flatten().map(|(_, at)| at);
        let before = self.before.iter_mut().map(|(_, at)| at);
        let others = [&mut self.late, &mut self.last, &mut self.unseen_since].into_iter().flatten();
        for at in seen.chain(before).chain(others) {
            *at = (*at).min(now);
        }
    }

    /// Whether people should hear that the condition is no longer what it was; each new token begins with
    /// one that was not seen, and that is no news once they know that tokens are seen.
    pub fn is_news(&mut self, was: Option<&Condition>, is: &Verdict) -> bool {
        let same = was.is_some_and(|was| (was.status, was.reason) == (is.0, is.1));
        match is.0 {
            _ if same => false,
            ConditionStatus::True => !std::mem::replace(&mut self.told, true),
            ConditionStatus::False => {
                self.told = false;
                true
            }
            ConditionStatus::Unknown => false,
        }
    }
}

/// The status of the condition, its reason and its message.
pub type Verdict = (ConditionStatus, Reason, String);

/// The condition that is shown.
#[must_use]
pub fn shown(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.kind == ConditionType::TokenObserved)
}

/// What is to be shown of a subscription that this receiver takes deliveries in for. Equal until there is
/// a new fact.
#[must_use]
pub fn verdict(status: &SubscriptionStatus, observed: &Observed, receiver: &str) -> Verdict {
    let Some(carried) = status.token_fingerprint.as_deref() else {
        let message = "no token has been applied yet".to_owned();
        return (ConditionStatus::Unknown, Reason::AwaitingDelivery, message);
    };
    let seen = observed.seen_at(carried);
    let shown = shown(&status.conditions);
    if observed.old_still_comes(carried) {
        let message = format!(
            "deliveries still come in at the WebhookReceiver {receiver} with a token that was replaced, longer after \
             that than the overlap: another webhook carries it, or the provider did not take the update; compare the \
             webhooks that the provider shows with this object"
        );
        return (ConditionStatus::False, Reason::OldTokenStillSeen, message);
    }
    if seen.is_some() || shown.is_some_and(|shown| shown.status == ConditionStatus::True) {
        let message =
            format!("a delivery with the token in place has come in at the WebhookReceiver {receiver}");
        return (ConditionStatus::True, Reason::DeliverySeen, message);
    }
    if observed.vague || shown.is_some_and(|shown| shown.reason == Reason::NotAttributable) {
        let message = format!(
            "deliveries come in at the WebhookReceiver {receiver}, and nobody can say of which webhook: they do not \
             carry the header {}, and not exactly one subscription of the receiver has their action",
            crate::api::SUBSCRIPTION_HEADER
        );
        return (ConditionStatus::Unknown, Reason::NotAttributable, message);
    }
    let message = format!(
        "no delivery with the token in place has come in at the WebhookReceiver {receiver} yet; that may only mean \
         that nothing has happened at the platform"
    );
    (ConditionStatus::Unknown, Reason::AwaitingDelivery, message)
}

/// Another token is in place: what was shown was said of the one before.
pub fn begin_anew(conditions: &mut [Condition], at: DateTime<Utc>) {
    use chrono::SubsecRound;
    let shown = conditions.iter_mut().find(|condition| condition.kind == ConditionType::TokenObserved);
    if let Some(shown) = shown.filter(|shown| shown.status != ConditionStatus::Unknown) {
        shown.status = ConditionStatus::Unknown;
        shown.reason = Reason::AwaitingDelivery;
        shown.last_transition_time = at.trunc_subsecs(0);
    }
}

/// A subscription of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a, T> {
    /// What stands for it.
    pub id: T,
    /// Its name.
    pub name: &'a str,
    /// Its action, where it has one.
    pub action: Option<&'a str>,
}

/// Whose a delivery was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose<T> {
    /// Of this one.
    Of(T),
    /// Of one of these, nobody can say which.
    OneOf(Vec<T>),
    /// Of none of them.
    Nobodys,
}

/// Whose a delivery was that came in at the receiver of these subscriptions: of the one it names;
/// otherwise of the only one that its event can be of.
#[must_use]
pub fn whose<'a, T: Copy>(
    candidates: impl Iterator<Item = Candidate<'a, T>>,
    named: Option<&str>,
    event: Option<&str>,
) -> Whose<T> {
    let candidates: Vec<_> = candidates.collect();
    let ids = |filter: &dyn Fn(&Candidate<'a, T>) -> bool| {
        candidates.iter().filter(|it| filter(it)).map(|it| it.id).collect::<Vec<T>>()
    };
    let ids = match (named, event) {
        (Some(named), _) => ids(&|it| it.name == named),
        (None, Some(event)) => {
            let of_event = ids(&|it| it.action == Some(event));
            if of_event.is_empty() { ids(&|it| it.action.is_none()) } else { of_event }
        }
        (None, None) => ids(&|_| true),
    };
    match ids[..] {
        [] => Whose::Nobodys,
        [only] => Whose::Of(only),
        _ => Whose::OneOf(ids),
    }
}
