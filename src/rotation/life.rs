//! How long a token lives, as its source says it; the token that is held; and what it means when a
//! source returns that one again.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::time::{Moment, add, between};

/// Lifetimes above this count as this: more is as good as forever, and sums stay small.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(400 * 24 * 3_600);
/// Two statements of one end that differ by more than this are told to people.
const GREAT_DIFFERENCE: Duration = Duration::from_secs(60);
/// Two answers speak of the same end when it differs by no more than this, or by a quarter of the
/// life that is known if that is less: whole seconds are stated, and answers are under way for a
/// while. A new life differs by more, because no source is asked sooner than
/// [`super::schedule::mint_spacing`] says.
const SAME_END: Duration = Duration::from_secs(5);

/// A held token, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldToken {
    /// Drawn at the mint.
    pub fingerprint: String,
    /// When it was asked for, or asked for again and given another life, on both clocks.
    pub minted: Moment,
    /// When it ends; `None` when nobody knows.
    pub expires: Option<DateTime<Utc>>,
    /// When the source returned it last.
    pub confirmed: DateTime<Utc>,
}

impl HeldToken {
    /// Whether the token's life has not ended on either clock.
    #[must_use]
    pub fn is_alive(&self, now: Moment) -> bool {
        self.expires.is_none_or(|expires| {
            let life = between(self.minted.wall, expires);
            now.wall < expires && now.boot.saturating_sub(self.minted.boot) < life
        })
    }
}

/// What an answer says of its token's life, counted from before the token was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Nothing, and no life is assumed.
    Unknown,
    /// So long.
    Stated(Duration),
    /// Two things that are far apart; the earlier end counts.
    Contradicted {
        /// What counts.
        earlier: Duration,
        /// What is said besides.
        later: Duration,
    },
    /// Nothing, and `assumedLifetime` says so long.
    Assumed(Duration),
}

impl Lifetime {
    /// The life that several statements of it leave, the earliest end of them; `None` without any.
    /// Lives count for at most 400 days.
    #[must_use]
    pub fn stated(statements: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut bounds: Option<(Duration, Duration)> = None;
        for life in statements {
            let life = life.min(LONGEST_LIFETIME);
            let (earlier, later) = bounds.unwrap_or((life, life));
            bounds = Some((earlier.min(life), later.max(life)));
        }
        bounds.map(|(earlier, later)| {
            if later - earlier > GREAT_DIFFERENCE {
                Self::Contradicted { earlier, later }
            } else {
                Self::Stated(earlier)
            }
        })
    }

    /// An assumed life, for an answer that says nothing.
    #[must_use]
    pub fn assumed(life: Option<Duration>) -> Self {
        life.map_or(Self::Unknown, |life| Self::Assumed(life.min(LONGEST_LIFETIME)))
    }

    /// The life that counts.
    #[must_use]
    pub fn length(self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::Stated(life) | Self::Contradicted { earlier: life, .. } | Self::Assumed(life) => Some(life),
        }
    }
}

/// What an answer means that contains the held token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// Another end of its life than was known, such as of a session that every use prolongs:
    /// that end counts from now on, and nothing is sent to the provider.
    AnotherEnd(DateTime<Utc>),
    /// The end that was known, such as from a gateway that caches: ask again after this time.
    SameEnd(Duration),
    /// Nothing new, and its life is over.
    Over,
}

/// Judges an answer to a request sent at `asked`, which contains the held token once more.
#[must_use]
pub fn repeated(held: &HeldToken, said: Lifetime, asked: Moment, now: Moment) -> Repeated {
    if let Some(life) = said.length() {
        let end = add(asked.wall, life);
        let is_same = held.expires.is_some_and(|known| {
            let tolerance = SAME_END.min(between(held.minted.wall, known) / 4);
            between(known, end) <= tolerance && between(end, known) <= tolerance
        });
        // What is assumed begins again with each answer. What has ended on the clock that is right
        // lives on when the source says so.
        if matches!(said, Lifetime::Assumed(_)) || !is_same {
            return Repeated::AnotherEnd(end);
        }
    }
    if !held.is_alive(now) {
        return Repeated::Over;
    }
    let left = held.expires.map_or(Duration::from_secs(60), |end| between(now.wall, end));
    Repeated::SameEnd(ask_again(left))
}

/// How long to wait before asking again a source that returned the token already held: an
/// eighth of the remaining life, at the earliest after 1 s.
#[must_use]
pub fn ask_again(remaining: Duration) -> Duration {
    (remaining / 8).max(Duration::from_secs(1))
}

/// Something about a life that people should know although all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// The source says two ends that are far apart.
    Contradicted {
        /// What counts.
        earlier: Duration,
        /// What is said besides.
        later: Duration,
    },
    /// The source says nothing, and what was known of the token before is taken.
    LikeBefore,
    /// The source returned the held token and does not say how long it lives.
    AssumedAnew(Duration),
}

impl Remark {
    /// What there is to say of the life of a new token.
    #[must_use]
    pub fn of(said: Lifetime) -> Option<Self> {
        match said {
            Lifetime::Contradicted { earlier, later } => Some(Self::Contradicted { earlier, later }),
            Lifetime::Unknown | Lifetime::Stated(_) | Lifetime::Assumed(_) => None,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradicted { earlier, later } => write!(
                formatter,
                "the token source says two lives of its token, {} and {}, and the shorter counts; compare expires_in, \
                 expires_at and the token's own exp at the token server",
                Written(*earlier),
                Written(*later)
            ),
            Self::LikeBefore => formatter.write_str(
                "the last answer did not say how long its token lives, and the life of the one before was taken; \
                 set assumedLifetime",
            ),
            Self::AssumedAnew(life) => write!(
                formatter,
                "the token source returned the same token again and does not say how long it lives: \
                 assumedLifetime ({}) began again, and nothing was sent to the provider",
                Written(*life)
            ),
        }
    }
}

/// A length of time as people write it in a manifest, in whole seconds.
struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(formatter, "{hours}h")?;
        }
        if minutes > 0 {
            write!(formatter, "{minutes}m")?;
        }
        if rest > 0 || seconds == 0 {
            write!(formatter, "{rest}s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(at: u64) -> Moment {
        Moment { wall: add(DateTime::UNIX_EPOCH, seconds(at)), boot: seconds(at) }
    }

    /// Minted at 0 with this life.
    fn held(life: u64) -> HeldToken {
        HeldToken {
            fingerprint: "f".into(),
            minted: moment(0),
            expires: Some(moment(life).wall),
            confirmed: moment(0).wall,
        }
    }

    fn judged(life: u64, said: Lifetime, at: u64) -> Repeated {
        repeated(&held(life), said, moment(at), moment(at))
    }

    #[test]
    fn the_earliest_of_all_statements_counts_and_a_great_difference_is_kept() {
        let stated = |lives: &[u64]| Lifetime::stated(lives.iter().map(|life| seconds(*life)));
        assert_eq!(stated(&[]), None);
        assert_eq!(stated(&[3600]), Some(Lifetime::Stated(seconds(3600))));
        assert_eq!(stated(&[3600, 3590]), Some(Lifetime::Stated(seconds(3590))));
        assert_eq!(stated(&[3540, 3600]), Some(Lifetime::Stated(seconds(3540))));
        for lives in [[3600, 20], [20, 3600]] {
            let said = stated(&lives).unwrap();
            assert_eq!(said, Lifetime::Contradicted { earlier: seconds(20), later: seconds(3600) });
            assert_eq!(said.length(), Some(seconds(20)));
            let remark = Remark::of(said).unwrap().to_string();
            assert!(remark.contains("20s and 1h, and the shorter counts"), "{remark}");
        }
        assert_eq!(stated(&[u64::MAX]).unwrap().length(), Some(LONGEST_LIFETIME));
    }

    #[test]
    fn a_life_that_is_assumed_counts_for_400_days_at_most() {
        assert_eq!(Lifetime::assumed(None), Lifetime::Unknown);
        assert_eq!(Lifetime::assumed(Some(seconds(20))), Lifetime::Assumed(seconds(20)));
        let year = seconds(365 * 24 * 3_600);
        let longest = seconds(400 * 24 * 3_600);
        assert_eq!(Lifetime::assumed(Some(year)), Lifetime::Assumed(year));
        assert_eq!(Lifetime::assumed(Some(year * 10)), Lifetime::Assumed(longest));
        assert_eq!(Lifetime::stated([year * 10]), Some(Lifetime::Stated(longest)));
    }

    #[test]
    fn a_source_that_renews_nothing_is_asked_again_after_an_eighth_of_what_remains() {
        for (remaining, wait) in [(3_600, 450), (80, 10), (8, 1), (4, 1), (0, 1)] {
            assert_eq!(ask_again(seconds(remaining)), seconds(wait), "{remaining} s");
        }
    }

    #[test]
    fn a_length_is_written_as_in_a_manifest() {
        for (length, written) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (90, "1m30s"),
            (3_600, "1h"),
            (3_661, "1h1m1s"),
            (7_205, "2h5s"),
        ] {
            assert_eq!(Written(seconds(length)).to_string(), written);
        }
    }

    #[test]
    fn a_token_is_alive_until_either_clock_says_that_its_life_is_over() {
        let held = held(20);
        assert!(held.is_alive(moment(19)) && !held.is_alive(moment(20)));
        assert!(!held.is_alive(Moment { boot: seconds(20), ..moment(10) }), "the wall clock was set back");
        assert!(!held.is_alive(Moment { boot: seconds(10), ..moment(20) }), "or forward");
        let endless = HeldToken { expires: None, ..held };
        assert!(endless.is_alive(moment(1_000_000)));
    }

    #[test]
    fn a_new_life_of_the_same_token_counts() {
        assert_eq!(
            judged(3600, Lifetime::Stated(seconds(3600)), 2400),
            Repeated::AnotherEnd(moment(6000).wall)
        );
        // A life of seconds, asked for in its middle.
        assert_eq!(judged(4, Lifetime::Stated(seconds(4)), 2), Repeated::AnotherEnd(moment(6).wall));
        // One that ends sooner than was known.
        assert_eq!(
            judged(3600, Lifetime::Stated(seconds(60)), 2400),
            Repeated::AnotherEnd(moment(2460).wall)
        );
        // One that was taken for dead.
        assert_eq!(judged(20, Lifetime::Stated(seconds(20)), 60), Repeated::AnotherEnd(moment(80).wall));
        let unending = HeldToken { expires: None, ..held(0) };
        assert_eq!(
            repeated(&unending, Lifetime::Stated(seconds(9)), moment(1), moment(1)),
            Repeated::AnotherEnd(moment(10).wall)
        );
    }

    #[test]
    fn what_remains_of_the_same_life_changes_nothing() {
        for (remaining, at) in [(1200, 2400), (1198, 2400), (1202, 2400), (1, 3599), (1, 3598), (2, 3599)] {
            let asks_again = judged(3600, Lifetime::Stated(seconds(remaining)), at);
            let Repeated::SameEnd(wait) = asks_again else { panic!("{remaining} at {at}: {asks_again:?}") };
            assert_eq!(wait, (seconds(3600 - at) / 8).max(seconds(1)), "{remaining}");
        }
        let difference = TimeDelta::milliseconds(800);
        let asked = Moment { wall: moment(10).wall + difference, boot: seconds(10) };
        let said = Lifetime::Stated(seconds(10));
        assert_eq!(repeated(&held(20), said, asked, asked), Repeated::SameEnd(Duration::from_millis(1150)));
    }

    #[test]
    fn an_assumed_life_begins_anew_with_each_answer() {
        for at in [1, 13, 20, 100] {
            assert_eq!(
                judged(20, Lifetime::Assumed(seconds(20)), at),
                Repeated::AnotherEnd(moment(at + 20).wall)
            );
        }
        let remark = Remark::AssumedAnew(seconds(5400)).to_string();
        assert!(remark.contains("assumedLifetime (1h30m) began again"), "{remark}");
    }

    #[test]
    fn a_token_that_has_ended_and_is_returned_without_a_new_life_is_over() {
        assert_eq!(judged(20, Lifetime::Unknown, 19), Repeated::SameEnd(seconds(1)));
        for at in [20, 21, 4000] {
            assert_eq!(judged(20, Lifetime::Unknown, at), Repeated::Over);
        }
        // On boot time alone: the wall clock was set back.
        let now = Moment { boot: seconds(60), ..moment(10) };
        assert_eq!(repeated(&held(20), Lifetime::Unknown, moment(10), now), Repeated::Over);
    }
}
