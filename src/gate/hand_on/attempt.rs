//! What the application's answer to an attempt means.

use std::time::Duration;

use crate::http::{Answer, Error};

/// The longest that a `Retry-After` of the application is obeyed. It may ask again.
pub(in crate::gate) const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// What came of an attempt, for the delivery and for its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Meaning {
    /// The application has taken the delivery.
    Taken,
    /// The application answered, and does not want this delivery: the attempt counts.
    Refused {
        /// In our words.
        what: String,
        /// How long it asks to wait with this delivery.
        wait: Option<Duration>,
    },
    /// Nobody answered for the application, or it takes nothing at this moment: the attempt does not
    /// count, and the receiver pauses.
    Away {
        /// In our words.
        what: String,
        /// How the application was found to be away.
        sign: Sign,
    },
}

/// How an application was found to take nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Sign {
    /// It says so, and perhaps for how long.
    Asked(Option<Duration>),
    /// The delivery, or a part of it, was sent, and no answer came. This may be due to this delivery.
    Silent,
    /// The delivery could not be sent; this may be due to this delivery.
    Unsendable,
    /// No connection came about, or none may be opened. This is due to no delivery.
    Unreached,
}

impl Sign {
    /// Whether another delivery may fare better.
    pub(in crate::gate) fn may_be_the_delivery(self) -> bool {
        !matches!(self, Self::Unreached)
    }
}

/// Judges what came back.
///
/// 429 and 503 say that the server cannot take the request at this moment (RFC 6585, section 4, and
/// RFC 9110, section 15.6.4), which says nothing of the delivery; any other answer but success does.
pub(in crate::gate) fn judge(answered: &Result<Answer, Error>) -> Meaning {
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => return judge_error(error),
    };
    let what = || format!("the application answered {}", answer.status);
    let wait = answer.retry_after.map(|wait| wait.min(LONGEST_ASKED));
    match answer.status {
        200..=299 => Meaning::Taken,
        429 | 503 => Meaning::Away { what: what(), sign: Sign::Asked(wait) },
        _ => Meaning::Refused { what: what(), wait },
    }
}

fn judge_error(error: &Error) -> Meaning {
    let sign = match error {
        Error::Redirect { status, .. } => {
            let what = format!(
                "the application answered {status}, a redirect, which is never followed; use the final URL"
            );
            return Meaning::Refused { what, wait: None };
        }
        Error::InvalidAnswer { .. }
        | Error::TooLarge { .. }
        | Error::UnexpectedEncoding { .. }
        | Error::BrokenEncoding { .. } => {
            return Meaning::Refused { what: error.to_string(), wait: None };
        }
        Error::Timeout { .. } | Error::Lost { .. } => Sign::Silent,
        Error::InvalidRequest { .. } => Sign::Unsendable,
        Error::DestinationNotAllowed { .. }
        | Error::NeverADestination { .. }
        | Error::HostNotAllowed { .. }
        | Error::Resolve { .. }
        | Error::ResolveTimeout { .. }
        | Error::Connect { .. }
        | Error::ConnectTimeout { .. }
        | Error::Tls { .. }
        | Error::Proxy { .. } => Sign::Unreached,
    };
    Meaning::Away { what: error.to_string(), sign }
}

/// How long a delivery waits after so many attempts that failed: the first time `interval`, each
/// further time twice as long, at most `longest`. A tenth more or less keeps deliveries that failed
/// together from coming back together; `bits` are random.
pub(in crate::gate) fn back_off(interval: Duration, longest: Duration, failed: u32, bits: u64) -> Duration {
    let doublings = failed.saturating_sub(1).min(31);
    let wait = interval.saturating_mul(1 << doublings).min(longest);
    let range = u32::try_from(wait.as_millis() / 5).unwrap_or(u32::MAX);
    let shift = Duration::from_millis(bits % (u64::from(range) + 1));
    (wait.saturating_sub(wait / 10) + shift).min(longest.max(interval)).max(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    fn answer(status: u16, retry_after: Option<u64>) -> Result<Answer, Error> {
        Ok(Answer {
            status,
            date: None,
            retry_after: retry_after.map(Duration::from_secs),
            content_type: None,
            link: None,
            body: Ok(Body::default()),
        })
    }

    fn host() -> String {
        "billing:8080".to_owned()
    }

    #[test]
    fn every_success_is_one_and_only_what_was_answered_counts() {
        for status in [200, 201, 202, 204, 206, 299] {
            assert_eq!(judge(&answer(status, Some(9))), Meaning::Taken, "{status}");
        }
        for status in [400, 401, 404, 408, 409, 410, 413, 422, 425, 428, 431, 500, 501, 502, 504, 599, 999] {
            let what = format!("the application answered {status}");
            assert_eq!(judge(&answer(status, None)), Meaning::Refused { what, wait: None });
        }
        for status in [301, 302, 303, 307, 308] {
            let redirect = judge(&Err(Error::Redirect { host: host(), status }));
            let Meaning::Refused { what, wait: None } = redirect else { panic!("{redirect:?}") };
            assert!(what.contains(&status.to_string()), "{what}");
        }
        for error in [
            Error::InvalidAnswer { host: host() },
            Error::TooLarge { host: host() },
            Error::UnexpectedEncoding { host: host() },
            Error::BrokenEncoding { host: host() },
        ] {
            assert!(matches!(judge(&Err(error.clone())), Meaning::Refused { .. }), "{error}");
        }
    }

    #[test]
    fn a_success_whose_page_cannot_be_read_is_a_success() {
        let broken = Err(Error::Lost { host: host() });
        let answered = answer(200, None).map(|answer| Answer { body: broken, ..answer });
        assert_eq!(judge(&answered), Meaning::Taken);
    }

    #[test]
    fn who_takes_nothing_at_the_moment_makes_the_receiver_pause() {
        let sign = |answered: &Result<Answer, Error>| match judge(answered) {
            Meaning::Away { sign, .. } => Some(sign),
            _ => None,
        };
        for status in [429, 503] {
            assert_eq!(sign(&answer(status, None)), Some(Sign::Asked(None)));
            let wait = Duration::from_secs(7);
            assert_eq!(sign(&answer(status, Some(7))), Some(Sign::Asked(Some(wait))));
            assert_eq!(sign(&answer(status, Some(86_400))), Some(Sign::Asked(Some(LONGEST_ASKED))));
        }
        let problem = "connection refused; nothing listens there";
        for (error, expected) in [
            (Error::Timeout { host: host(), timeout: Duration::from_secs(1) }, Sign::Silent),
            (Error::Lost { host: host() }, Sign::Silent),
            (Error::InvalidRequest { what: String::new() }, Sign::Unsendable),
            (Error::Connect { host: host(), problem }, Sign::Unreached),
            (Error::ConnectTimeout { host: host() }, Sign::Unreached),
            (Error::Resolve { host: host() }, Sign::Unreached),
            (Error::Tls { host: host(), problem }, Sign::Unreached),
        ] {
            assert_eq!(sign(&Err(error.clone())), Some(expected), "{error}");
        }
    }

    #[test]
    fn a_destination_that_is_not_allowed_names_the_line_to_add() {
        let error = Error::DestinationNotAllowed {
            host: host(),
            problem: "plain http goes only where an exception allows it".to_owned(),
            allow: "--allow-destination http://billing:8080".to_owned(),
        };
        let Meaning::Away { what, sign: Sign::Unreached } = judge(&Err(error)) else { panic!() };
        assert!(what.contains("--allow-destination http://billing:8080"), "{what}");
    }

    #[test]
    fn waits_double_from_the_interval_to_the_longest() {
        let (interval, longest) = (Duration::from_secs(5), Duration::from_secs(600));
        for (failed, wait) in
            [(0, 5), (1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (50, 600), (u32::MAX, 600)]
        {
            let wait = Duration::from_secs(wait);
            for bits in [0, 1, 777, u64::MAX / 3, u64::MAX] {
                let got = back_off(interval, longest, failed, bits);
                assert!(got >= wait * 9 / 10 && got <= wait * 11 / 10, "{failed} {got:?}");
                assert!(got >= interval && got <= longest, "{failed} {got:?}");
            }
        }
        // An interval that is longer than the longest wait counts.
        assert_eq!(back_off(longest, interval, 3, 9), longest);
    }

    /// What the documentation promises of the defaults.
    #[test]
    fn fifty_refusals_last_seven_hours() {
        let wait = |failed| {
            back_off(Duration::from_secs(5), Duration::from_secs(600), failed, 12_345 * u64::from(failed))
        };
        let all: Duration = (1..50).map(wait).sum();
        assert!(
            all > Duration::from_secs(6 * 3600 + 1800) && all < Duration::from_secs(7 * 3600 + 1800),
            "{all:?}"
        );
    }
}
