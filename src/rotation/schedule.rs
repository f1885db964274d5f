//! When a rotation is due.
//!
//! A token was asked for at `m` and expires at `e`; it is to be brought to `n` subscriptions, at a
//! provider that takes `r` requests a minute. The names are those of [`plan`]:
//!
//! ```text
//! lifetime = e - m, and 400 days at most
//! drain    = 2 * n * 60 s / r              to bring a new token to everybody, twice over
//! want     = renewBefore, or min(lifetime / 3, 30 days)
//! overlap  = rotation.overlap, or the provider's; nothing where the source revokes the previous token
//! safety   = min(2 * (mint timeout + apply timeout), lifetime / 4)
//! lead     = min(max(want, overlap + drain, safety), 2/3 of lifetime)
//! jitter   = fixed for the source, in [0, min(lead / 10, 1 h)), and only ever earlier
//! due      = m + max(lifetime - lead - jitter, min(30 s, lifetime / 2), 5 s)
//! ```
//!
//! For one subscription, without jitter and `renewBefore`, at 500 requests a minute and with timeouts
//! of 10 s:
//!
//! | lifetime | due after `m`, overlap 2 h | due after `m`, overlap 0 |
//! |---|---|---|
//! | 20 s | 10 s | 13.3 s |
//! | 5 min | 100 s | 200 s |
//! | 1 h | 20 min | 40 min |
//! | 24 h | 16 h | 16 h |
//! | 7 d | 4.67 d | 4.67 d |
//! | 10 y, which counts as 400 d | 370 d | 370 d |
//!
//! An overlap that the lifetime cannot hold is told in a condition and stops nothing: tokens of an
//! hour, and a platform that repeats deliveries for two, are the normal case. Which clock says that
//! the time has come is a question for `rotate.rs`.
//!
//! Everything is computed in whole milliseconds with saturating arithmetic: a source that says
//! `expires_in: 9e12` must not bring the process down.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::facts::{ProviderProfile, SourceState, Subject};
use super::life::LONGEST_LIFETIME;
use super::time::subtract;
use crate::api::{self, WebhookSubscriptionSpec};

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// A rotation is never due sooner than this after the mint, or half the life if that is less.
const SHORTEST_WAIT: i64 = 30 * SECOND;

/// However short tokens live, one object is not rotated more often than once in this time.
pub const FLOOR: Duration = Duration::from_secs(5);
const FLOOR_MS: i64 = 5 * SECOND;
/// A token that lives shorter cannot be replaced in time: after the floor too little is left of it for
/// an attempt.
pub const SHORTEST_LIFETIME: Duration = Duration::from_secs(8);

/// What the time of a rotation depends on besides the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The user's wish; a third of the lifetime without one.
    pub renew_before: Option<Duration>,
    /// How long the previous token should still be valid after a rotation.
    pub overlap: Duration,
    /// How many subscriptions the new token must be brought to.
    pub members: u32,
    /// How many requests the provider takes in a minute; 0 counts as 1.
    pub requests_per_minute: u32,
    /// How long a mint may take.
    pub mint_timeout: Duration,
    /// How long an apply may take.
    pub apply_timeout: Duration,
    /// Whether issuing a token revokes the previous one; overlap then counts as nothing.
    pub revokes_previous: bool,
    /// Fixed for the source, so that all its members move together.
    pub jitter_seed: u64,
}

/// When to rotate a token, and why then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When the rotation is due.
    pub due: DateTime<Utc>,
    /// When the token expires, as far as planning goes.
    pub expires: DateTime<Utc>,
    /// How long before expiry the rotation is wanted.
    pub lead: Duration,
    /// Least time before expiry in which an attempt can still succeed.
    pub safety: Duration,
    /// The life of the token is too short for the overlap that was asked for.
    pub overlap_short: bool,
    /// The life of the token, where it is under [`SHORTEST_LIFETIME`].
    pub too_short: Option<Duration>,
}

impl Plan {
    /// When a last attempt is made for the token although calls pause.
    #[must_use]
    pub fn last_attempt(&self) -> DateTime<Utc> {
        subtract(self.expires, self.safety)
    }

    /// Whether a pause that ends then leaves no time for an attempt after it, so that one must come
    /// before its end.
    #[must_use]
    pub fn is_outlasted_by(&self, pause_ends: DateTime<Utc>) -> bool {
        pause_ends > subtract(self.expires, self.safety / 4)
    }
}

/// Plans the rotation of a token minted at one time and expiring at another.
///
/// `due` is never before `minted`; and never later than `safety` before `expires`, unless the token
/// lives shorter than [`SHORTEST_LIFETIME`].
///
/// ```
/// use std::time::Duration;
/// use chrono::{DateTime, TimeDelta};
/// use hookkeeper::rotation::schedule::{Terms, plan};
///
/// let terms = Terms {
///     renew_before: None,
///     overlap: Duration::ZERO,
///     members: 1,
///     requests_per_minute: 500,
///     mint_timeout: Duration::from_secs(10),
///     apply_timeout: Duration::from_secs(10),
///     revokes_previous: false,
///     jitter_seed: 0,
/// };
/// let minted = DateTime::UNIX_EPOCH;
/// let plan = plan(minted, minted + TimeDelta::hours(24), &terms);
/// assert_eq!(plan.due, minted + TimeDelta::hours(16));
/// ```
#[must_use]
pub fn plan(minted: DateTime<Utc>, expires: DateTime<Utc>, terms: &Terms) -> Plan {
    let lifetime =
        expires.signed_duration_since(minted).num_milliseconds().clamp(0, milliseconds(LONGEST_LIFETIME));
    let per_minute = i64::from(terms.requests_per_minute.max(1));
    let drain = (2 * i64::from(terms.members)).saturating_mul(60 * SECOND) / per_minute;
    let want = match terms.renew_before {
        Some(wanted) => milliseconds(wanted),
        None => (lifetime / 3).min(30 * DAY),
    };
    let asked_overlap = milliseconds(terms.overlap);
    let overlap = if terms.revokes_previous { 0 } else { asked_overlap };
    let safety = milliseconds(terms.mint_timeout)
        .saturating_add(milliseconds(terms.apply_timeout))
        .saturating_mul(2)
        .min(lifetime / 4);
    let lead = want.max(overlap.saturating_add(drain)).max(safety).min(2 * lifetime / 3);
    let jitter = below(terms.jitter_seed, (lead / 10).min(HOUR));
    let due = (lifetime - lead - jitter).max(SHORTEST_WAIT.min(lifetime / 2)).max(FLOOR_MS);
    Plan {
        due: later(minted, due),
        expires: later(minted, lifetime),
        lead: duration(lead),
        safety: duration(safety),
        overlap_short: asked_overlap > 0 && (terms.revokes_previous || lifetime - due < asked_overlap),
        too_short: too_short(minted, expires),
    }
}

/// What the time of a subscription's rotation depends on.
#[must_use]
pub fn terms(spec: &WebhookSubscriptionSpec, profile: &ProviderProfile, source: &SourceState) -> Terms {
    let rotation = spec.rotation.as_ref();
    Terms {
        renew_before: rotation.and_then(|rotation| rotation.renew_before.as_ref()).map(api::Duration::to_std),
        overlap: rotation
            .and_then(|rotation| rotation.overlap.as_ref())
            .map_or(profile.overlap, api::Duration::to_std),
        members: source.members,
        requests_per_minute: profile.requests_per_minute,
        mint_timeout: source.timeout,
        apply_timeout: profile.timeout,
        revokes_previous: source.revokes_previous,
        jitter_seed: source.jitter_seed,
    }
}

/// The plan for the token that is on record, if it has an expiry.
#[must_use]
pub fn planned(
    subject: &Subject<'_>,
    spec: &WebhookSubscriptionSpec,
    profile: &ProviderProfile,
    source: &SourceState,
) -> Option<Plan> {
    let minted = subject.status.token_minted_time?;
    let expires = subject.status.token_expiration_time?;
    Some(plan(minted, expires, &terms(spec, profile, source)))
}

/// The life of a token, where it is under [`SHORTEST_LIFETIME`].
#[must_use]
pub fn too_short(minted: DateTime<Utc>, expires: DateTime<Utc>) -> Option<Duration> {
    let life = expires.signed_duration_since(minted).to_std().unwrap_or_default();
    Some(life).filter(|life| *life < SHORTEST_LIFETIME)
}

/// What people are told of a token that lives so short.
#[must_use]
pub fn too_short_message(life: Duration) -> String {
    format!(
        "the token lives {life:?}, and one object is rotated at most every {FLOOR:?}, so there is no live token at the \
         provider all the time; have the token server issue tokens that live {SHORTEST_LIFETIME:?} or longer"
    )
}

/// How long after a mint that brought a new token the next one may come.
#[must_use]
pub fn mint_spacing(lifetime: Option<Duration>) -> Duration {
    let longest = duration(SHORTEST_WAIT);
    lifetime.map_or(longest, |lifetime| longest.min(lifetime / 2).max(FLOOR))
}

/// How long a new token is left in its published Secret before it is applied: kubelets take a
/// minute or more to bring a changed Secret into a pod.
#[must_use]
pub fn publishing_pause(lead: Duration) -> Duration {
    (lead / 4).min(Duration::from_secs(120))
}

/// A number in `[0, limit)` that depends on the seed alone; 0 when the limit is not positive.
fn below(seed: u64, limit: i64) -> i64 {
    match u64::try_from(limit) {
        Ok(limit) if limit > 0 => i64::try_from((u128::from(seed) * u128::from(limit)) >> 64).unwrap_or(0),
        _ => 0,
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

fn later(time: DateTime<Utc>, milliseconds: i64) -> DateTime<Utc> {
    TimeDelta::try_milliseconds(milliseconds)
        .and_then(|wait| time.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(overlap: Duration) -> Terms {
        Terms {
            renew_before: None,
            overlap,
            members: 1,
            requests_per_minute: 500,
            mint_timeout: Duration::from_secs(10),
            apply_timeout: Duration::from_secs(10),
            revokes_previous: false,
            jitter_seed: 0,
        }
    }

    #[test]
    fn the_table_of_this_module() {
        let (hour, day) = (3_600, 24 * 3_600);
        let two_hours = Duration::from_secs(2 * 3_600);
        for (lifetime, with_overlap, without) in [
            (20, 10_000, 13_334),
            (300, 100_000, 200_000),
            (hour, 20 * 60_000, 40 * 60_000),
            (day, 16 * 3_600_000, 16 * 3_600_000),
            (7 * day, 403_200_000, 403_200_000),
            (3_650 * day, 370 * day * 1_000, 370 * day * 1_000),
        ] {
            let minted = DateTime::<Utc>::UNIX_EPOCH;
            let expires = minted + TimeDelta::seconds(lifetime);
            for (overlap, expected) in [(two_hours, with_overlap), (Duration::ZERO, without)] {
                let due = plan(minted, expires, &terms(overlap)).due;
                assert_eq!(
                    (due - minted).num_milliseconds(),
                    expected,
                    "life {lifetime} s, overlap {overlap:?}"
                );
            }
        }
    }

    #[test]
    fn a_token_of_eight_seconds_is_the_shortest_that_is_kept() {
        let minted = DateTime::<Utc>::UNIX_EPOCH;
        for (life, due, too_short) in [
            (10, 5_000, true),
            (4_000, 5_000, true),
            (7_999, 5_333, true),
            (8_000, 5_334, false),
            (10_000, 6_667, false),
            (12_000, 8_000, false),
        ] {
            let expires = minted + TimeDelta::milliseconds(life);
            let plan = plan(minted, expires, &terms(Duration::ZERO));
            assert_eq!((plan.due - minted).num_milliseconds(), due, "{life} ms");
            assert_eq!(plan.too_short.is_some(), too_short, "{life} ms");
            assert!(too_short || plan.due < expires, "{life} ms");
            assert!(mint_spacing(Some(Duration::from_millis(life.unsigned_abs()))) >= FLOOR);
        }
        let overlap = plan(minted, minted + TimeDelta::seconds(10), &terms(Duration::from_secs(7_200)));
        assert_eq!(overlap.due, minted + TimeDelta::seconds(5), "as early as ever, and in time");
    }

    #[test]
    fn a_pause_that_ends_in_time_for_an_attempt_is_waited_out() {
        let minted = DateTime::<Utc>::UNIX_EPOCH;
        let plan = plan(minted, minted + TimeDelta::seconds(12), &terms(Duration::ZERO));
        assert_eq!(plan.last_attempt(), minted + TimeDelta::seconds(9));
        assert!(!plan.is_outlasted_by(minted + TimeDelta::seconds(11)));
        let last_moment = TimeDelta::milliseconds(11_250);
        assert!(!plan.is_outlasted_by(minted + last_moment), "a quarter of the safety is enough");
        assert!(plan.is_outlasted_by(minted + last_moment + TimeDelta::milliseconds(1)));
        assert!(plan.is_outlasted_by(minted + TimeDelta::hours(1)));
    }

    #[test]
    fn an_overlap_that_the_life_cannot_hold_is_reported() {
        let minted = DateTime::<Utc>::UNIX_EPOCH;
        let two_hours = Duration::from_secs(2 * 3_600);
        let short =
            |hours, terms: &Terms| plan(minted, minted + TimeDelta::hours(hours), terms).overlap_short;
        for (hours, is_short) in [(1, true), (2, true), (3, false), (4, false)] {
            assert_eq!(short(hours, &terms(two_hours)), is_short, "a life of {hours} h");
        }
        assert!(short(24, &Terms { revokes_previous: true, ..terms(two_hours) }));
        assert!(!short(1, &terms(Duration::ZERO)));
        assert!(!short(1, &Terms { revokes_previous: true, ..terms(Duration::ZERO) }), "none was asked for");
    }

    #[test]
    fn a_large_fan_out_starts_earlier() {
        let minted = DateTime::<Utc>::UNIX_EPOCH;
        let expires = minted + TimeDelta::hours(24);
        let many = Terms { members: 10_000, requests_per_minute: 20, ..terms(Duration::ZERO) };
        let lead = plan(minted, expires, &many).lead;
        assert_eq!(
            lead,
            Duration::from_secs(16 * 3_600),
            "two drains of 500 min, cut to two thirds of the life"
        );
    }

    #[test]
    fn jitter_makes_earlier_by_a_tenth_of_the_lead_and_by_an_hour_at_most() {
        let minted = DateTime::<Utc>::UNIX_EPOCH;
        let earlier = |days, jitter_seed| {
            let due = |jitter_seed| {
                let terms = Terms { jitter_seed, ..terms(Duration::ZERO) };
                plan(minted, minted + TimeDelta::days(days), &terms).due
            };
            (due(0) - due(jitter_seed)).num_milliseconds()
        };
        // The lead of a day is eight hours, that of 30 days ten.
        let (tenth, hour) = (48 * 60_000, 3_600_000);
        assert_eq!(earlier(1, u64::MAX), tenth - 1, "always less than that");
        assert_eq!(earlier(1, u64::MAX / 2 + 1), tenth / 2);
        assert_eq!(earlier(30, u64::MAX), hour - 1);
        assert_eq!(earlier(30, u64::MAX / 4 + 1), hour / 4);
        assert_eq!(earlier(0, u64::MAX), 0, "where there is no lead there is no jitter");
    }

    #[test]
    fn the_next_mint_comes_after_30_s_or_half_a_life_and_never_within_5_s() {
        let seconds = Duration::from_secs;
        for (lifetime, spacing) in [
            (None, 30),
            (Some(3_600), 30),
            (Some(60), 30),
            (Some(20), 10),
            (Some(10), 5),
            (Some(8), 5),
            (Some(0), 5),
        ] {
            assert_eq!(mint_spacing(lifetime.map(seconds)), seconds(spacing), "{lifetime:?}");
        }
    }

    #[test]
    fn a_published_token_is_left_for_a_quarter_of_the_lead_and_two_minutes_at_most() {
        for (lead, pause) in [(0, 0), (60_000, 15_000), (480_000, 120_000), (3_600_000, 120_000)] {
            assert_eq!(
                publishing_pause(Duration::from_millis(lead)),
                Duration::from_millis(pause),
                "{lead} ms"
            );
        }
    }

    #[test]
    fn people_are_told_how_long_tokens_have_to_live() {
        let told = too_short_message(Duration::from_secs(4));
        for part in ["lives 4s", "every 5s", "live 8s or longer"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            any::<u64>().prop_map(Duration::from_millis),
            (0_u64..1_000_000).prop_map(Duration::from_millis)
        ]
    }

    fn any_time() -> impl Strategy<Value = DateTime<Utc>> {
        prop_oneof![
            any::<i64>()
                .prop_map(|at| DateTime::from_timestamp_millis(at).unwrap_or(DateTime::<Utc>::MAX_UTC)),
            (0_i64..4_000_000_000_000).prop_map(|at| DateTime::from_timestamp_millis(at).unwrap()),
            Just(DateTime::<Utc>::MIN_UTC),
        ]
    }

    fn any_terms() -> impl Strategy<Value = Terms> {
        let sizes = (proptest::option::of(any_duration()), any_duration(), any::<u32>(), any::<u32>());
        (sizes, any_duration(), any_duration(), any::<bool>(), any::<u64>()).prop_map(
            |(
                (renew_before, overlap, members, requests_per_minute),
                mint_timeout,
                apply_timeout,
                revokes,
                seed,
            )| Terms {
                renew_before,
                overlap,
                members,
                requests_per_minute,
                mint_timeout,
                apply_timeout,
                revokes_previous: revokes,
                jitter_seed: seed,
            },
        )
    }

    proptest! {
        #[test]
        fn due_lies_between_the_mint_and_safety(minted in any_time(), expires in any_time(), terms in any_terms()) {
            let plan = plan(minted, expires, &terms);
            prop_assert!(plan.due >= minted);
            prop_assert!(plan.expires >= minted);
            let latest = plan.expires.signed_duration_since(plan.due);
            prop_assert!(plan.too_short.is_some() || latest >= TimeDelta::from_std(plan.safety).unwrap());
        }

        #[test]
        fn jitter_only_ever_makes_earlier(minted in any_time(), expires in any_time(), terms in any_terms()) {
            let jittered = plan(minted, expires, &terms);
            let plain = plan(minted, expires, &Terms { jitter_seed: 0, ..terms });
            prop_assert!(jittered.due <= plain.due);
            let earlier = plain.due.signed_duration_since(jittered.due).to_std().unwrap();
            prop_assert!(earlier <= Duration::from_secs(3_600));
        }
    }
}
