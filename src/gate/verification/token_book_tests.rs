//! What the token book accepts, recognises and forgets.

use hyper::header::AUTHORIZATION;
use proptest::prelude::*;

use super::*;

const OVERLAP: Duration = Duration::from_secs(2 * 3_600);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn bearer() -> Prefix {
    Prefix::new(&AUTHORIZATION, "Bearer ")
}

fn book() -> TokenBook {
    TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), Vec::new())
}

fn text(number: usize) -> SecretText {
    SecretText::new(format!("token-{number:04}"))
}

fn name(number: usize) -> String {
    format!("fingerprint-{number}")
}

/// The gate learns that this token was minted and published now.
fn learn(book: &mut TokenBook, number: usize, previous: bool, now: i64) -> bool {
    let (token, fingerprint) = (text(number), name(number));
    let current = PublishedToken { text: &token, fingerprint: Some(&fingerprint), minted: Some(at(now)) };
    let before = text(number.saturating_sub(1));
    let before = PublishedToken { text: &before, fingerprint: None, minted: None };
    let previous = Some(&before).filter(|_| previous && number > 0);
    book.learn(&bearer(), &current, previous, at(now), OVERLAP)
}

fn judge(book: &TokenBook, number: usize, now: i64) -> Judgement {
    book.judge(text(number).expose().as_bytes(), at(now), OVERLAP, None)
}

fn accepted(number: usize) -> Judgement {
    Judgement::Accepted(Some(name(number).into()))
}

fn retired(number: usize) -> Judgement {
    Judgement::Retired(Some(name(number).into()))
}

#[test]
fn a_token_of_an_hour_that_is_replaced_every_20_minutes_is_accepted_for_the_whole_overlap() {
    let mut book = book();
    for number in 0..40 {
        let now = i64::try_from(number).unwrap() * 1_200;
        assert!(learn(&mut book, number, true, now));
        // Six replaced ones may still arrive, and the one that was replaced two hours ago just now.
        for known in 0..=number {
            let expected = if number - known <= 7 { accepted(known) } else { retired(known) };
            assert_eq!(judge(&book, known, now), expected, "{known} after {number}");
        }
        assert_eq!(judge(&book, number + 1, now), Judgement::Unknown);
    }
}

#[test]
fn it_is_accepted_until_the_overlap_is_over_and_recognised_for_a_week_more() {
    let mut book = book();
    learn(&mut book, 0, true, 0);
    learn(&mut book, 1, true, 100);
    let (overlap, week) = (100 + 7_200, 100 + 7_200 + 7 * 86_400);
    for (now, expected) in [
        (100, accepted(0)),
        (overlap, accepted(0)),
        (overlap + 1, retired(0)),
        (week, retired(0)),
        (week + 1, Judgement::Unknown),
    ] {
        assert_eq!(judge(&book, 0, now), expected, "{now}");
        assert_eq!(judge(&book, 1, now), accepted(1), "{now}");
    }
    learn(&mut book, 2, true, week + 1);
    assert_eq!(book.known().len(), 2);
}

#[test]
fn those_that_are_accepted_are_told_the_newest_first() {
    let mut book = book();
    for (number, now) in [(0, 0), (1, 100), (2, 200)] {
        learn(&mut book, number, true, now);
    }
    let told = |now: i64, revoked_before: Option<i64>| {
        let told = book.accepted(at(now), OVERLAP, revoked_before.map(at));
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(200, None), [name(2), name(1), name(0)]);
    assert_eq!(told(100 + 7_201, None), [name(2), name(1)]);
    assert_eq!(told(200, Some(150)), [name(2)]);
}

#[test]
fn what_another_gate_has_kept_is_taken_over_as_far_as_it_still_counts() {
    let mut other = book();
    for (number, now) in [(0, 0), (1, 100), (2, 200), (3, 300)] {
        learn(&mut other, number, true, now);
    }
    // This one could not read what was published between.
    let mut own = book();
    learn(&mut own, 0, false, 0);
    learn(&mut own, 3, false, 300);
    assert_eq!(judge(&own, 1, 310), Judgement::Unknown);
    let before = own.known();
    assert!(own.take_over(other.known(), at(310), OVERLAP));
    for number in 0..=3 {
        assert_eq!(judge(&own, number, 310), accepted(number), "{number}");
    }
    assert_eq!(own.known()[..2], before, "what it knows itself stays as it was");
    assert_eq!(*own.accepted(at(310), OVERLAP, None)[0], *name(3));
    assert!(!own.take_over(other.known(), at(310), OVERLAP));

    let mut late = book();
    learn(&mut late, 4, false, 0);
    let over = 300 + 7_200 + 8 * 86_400;
    assert!(late.take_over(other.known(), at(over), OVERLAP), "the newest has no end yet");
    assert_eq!(late.known().len(), 2);
}

#[test]
fn a_revocation_ends_acceptance_at_once_and_not_recognition() {
    let mut book = book();
    learn(&mut book, 0, true, 0);
    learn(&mut book, 1, true, 100);
    let judge = |book: &TokenBook, number, before: i64| {
        book.judge(text(number).expose().as_bytes(), at(150), OVERLAP, Some(at(before)))
    };
    assert_eq!(judge(&book, 0, 0), accepted(0));
    assert_eq!(judge(&book, 0, 1), retired(0));
    assert_eq!(judge(&book, 1, 100), accepted(1));
    assert_eq!(judge(&book, 1, 101), retired(1));
    assert!(book.accepts_any(at(150), OVERLAP, Some(at(100))));
    assert!(!book.accepts_any(at(150), OVERLAP, Some(at(101))));
    learn(&mut book, 2, true, 140);
    assert!(book.accepts_any(at(150), OVERLAP, Some(at(101))));

    // Of a token that was only ever seen as the one before, nobody knows when it was minted.
    let mut book = super::tests::book();
    learn(&mut book, 1, true, 100);
    assert_eq!(judge(&book, 0, -1_000_000), Judgement::Retired(None));
    let never = book.judge(text(0).expose().as_bytes(), at(150), OVERLAP, None);
    assert_eq!(never, Judgement::Accepted(None));
}

#[test]
fn what_was_missed_counts_from_when_it_can_have_been_replaced() {
    let mut book = book();
    learn(&mut book, 0, true, 0);
    // Away for ten hours, in which 1 and 2 were published; 2 was minted 5 hours before the end.
    let (current, fingerprint, before) = (text(2), name(2), text(1));
    let current =
        PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(5 * 3_600)) };
    let before = PublishedToken { text: &before, fingerprint: Some("fingerprint-1"), minted: None };
    let now = 10 * 3_600;
    book.learn(&bearer(), &current, Some(&before), at(now), OVERLAP);
    assert_eq!(judge(&book, 0, now), retired(0));
    assert_eq!(judge(&book, 1, now), accepted(1));
    assert_eq!(judge(&book, 1, now + 7_201), retired(1));
    assert_eq!(judge(&book, 2, now), accepted(2));
}

#[test]
fn a_token_that_was_published_late_replaces_the_one_before_only_then() {
    let mut book = book();
    learn(&mut book, 0, true, 0);
    let (current, fingerprint) = (text(1), name(1));
    let current = PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(100)) };
    // Three hours after it was minted.
    book.learn(&bearer(), &current, None, at(3 * 3_600), OVERLAP);
    assert_eq!(judge(&book, 0, 5 * 3_600), accepted(0));
    assert_eq!(judge(&book, 0, 5 * 3_600 + 1), retired(0));
}

#[test]
fn reading_the_same_again_gives_no_token_more_time() {
    let mut book = book();
    learn(&mut book, 0, true, 0);
    let (current, fingerprint, before) = (text(1), name(1), text(0));
    let current = PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(100)) };
    let before = PublishedToken { text: &before, fingerprint: None, minted: None };
    for now in (100..10_000).step_by(100) {
        let previous = Some(&before).filter(|_| now % 200 == 0);
        assert_eq!(book.learn(&bearer(), &current, previous, at(now), OVERLAP), now == 100, "{now}");
        let expected = if now <= 7_300 { accepted(0) } else { retired(0) };
        assert_eq!(judge(&book, 0, now), expected, "{now}");
    }
}

#[test]
fn a_token_that_comes_back_is_the_current_one_again() {
    let mut book = book();
    learn(&mut book, 0, false, 0);
    learn(&mut book, 1, false, 100);
    learn(&mut book, 0, false, 200);
    assert_eq!(judge(&book, 0, 1_000_000), accepted(0));
    assert_eq!(judge(&book, 1, 1_000_000), Judgement::Unknown);
    assert!(!learn(&mut book, 0, false, 200), "nothing has changed");
    assert!(learn(&mut book, 0, false, 1_000_000), "the other one is forgotten");
}

#[test]
fn what_subscriptions_still_carry_is_not_over_however_long_that_lasts() {
    let carrying = |numbers: &[usize]| -> BTreeSet<Arc<str>> {
        numbers.iter().map(|number| name(*number).into()).collect()
    };
    let mut book = book();
    learn(&mut book, 0, true, 0);
    assert!(!book.carried(&carrying(&[0]), at(10)));
    learn(&mut book, 1, true, 100);
    learn(&mut book, 2, true, 200);
    let month = 30 * 86_400;
    assert_eq!(judge(&book, 0, month), accepted(0));
    assert_eq!(judge(&book, 1, 200 + 7_201), retired(1));
    // Reading the same again changes nothing, and a restart does not either.
    let known = book.known();
    for restart in [false, true] {
        if restart {
            book = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), book.known());
            assert!(!book.carried(&carrying(&[0]), at(month)));
        }
        let (current, fingerprint, before) = (text(2), name(2), text(1));
        let current =
            PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(200)) };
        let before = PublishedToken { text: &before, fingerprint: None, minted: None };
        book.learn(&bearer(), &current, Some(&before), at(300), OVERLAP);
        assert_eq!(book.known(), known);
    }
    // The last subscription has taken the update: from now on the overlap counts.
    assert!(book.carried(&carrying(&[2]), at(month)));
    assert_eq!(judge(&book, 0, month + 7_200), accepted(0));
    assert_eq!(judge(&book, 0, month + 7_201), retired(0));
    // One that had stopped already is carried again.
    assert!(book.carried(&carrying(&[0]), at(month + 8_000)));
    assert_eq!(judge(&book, 0, 2 * month), accepted(0));
    assert_eq!(judge(&book, 2, 2 * month), accepted(2));
}

#[test]
fn an_older_token_that_is_current_again_stays_it_though_nobody_carries_it_yet() {
    let mut book = book();
    learn(&mut book, 0, false, 0);
    learn(&mut book, 1, false, 100);
    let (current, fingerprint) = (text(0), name(0));
    let current = PublishedToken { text: &current, fingerprint: Some(&fingerprint), minted: Some(at(0)) };
    book.learn(&bearer(), &current, None, at(200), OVERLAP);
    assert!(!book.carried(&BTreeSet::new(), at(300)));
    assert_eq!(judge(&book, 0, 1_000_000), accepted(0));
}

#[test]
fn the_same_token_as_current_and_previous_is_current() {
    let mut book = book();
    let (token, fingerprint) = (text(0), name(0));
    let token = PublishedToken { text: &token, fingerprint: Some(&fingerprint), minted: Some(at(0)) };
    book.learn(&bearer(), &token, Some(&token), at(0), OVERLAP);
    assert_eq!(judge(&book, 0, 1_000_000), accepted(0));
    assert_eq!(book.known().len(), 1);
}

#[test]
fn a_token_is_learnt_as_it_is_sent_and_only_if_it_can_be() {
    let mut book = book();
    let learn = |book: &mut TokenBook, text: &str| {
        let text = SecretText::from(text);
        let token = PublishedToken { text: &text, fingerprint: None, minted: None };
        book.learn(&bearer(), &token, None, at(0), OVERLAP)
    };
    for unusable in ["", "Bearer ", "short", "Bearer short", "two\nlines-here", "token-\u{0}-token"] {
        assert!(!learn(&mut book, unusable), "{unusable:?}");
    }
    assert!(!book.accepts_any(at(0), OVERLAP, None));
    assert!(learn(&mut book, "Bearer token-0000"));
    assert_eq!(judge(&book, 0, 0), Judgement::Accepted(None));
    assert!(!learn(&mut book, "token-0000"), "the same, without its scheme");
}

#[test]
fn of_too_many_those_that_were_replaced_first_go() {
    let mut book = book();
    for number in 0..100 {
        learn(&mut book, number, true, i64::try_from(number).unwrap());
        assert!(book.known().len() <= MOST_TOKENS);
    }
    for number in 0..100 {
        let expected = if number < 36 { Judgement::Unknown } else { accepted(number) };
        assert_eq!(judge(&book, number, 100), expected, "{number}");
    }
    let mut more = book.known();
    more.extend(more.clone());
    let restored = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), more);
    assert_eq!(restored.known().len(), MOST_TOKENS);
    assert_eq!(judge(&restored, 99, 1_000_000), accepted(99));
}

#[test]
fn another_receiver_or_store_knows_nothing_and_nothing_secret_is_kept() {
    let mut book = book();
    learn(&mut book, 0, true, 0);
    for (key, uid) in [([1; 32], "uid-2"), ([2; 32], "uid-1")] {
        let other = TokenBook::new(DigestKey::new(&key), uid.into(), book.known());
        assert_eq!(judge(&other, 0, 0), Judgement::Unknown);
    }
    assert!(!format!("{book:?} {:?}", book.known()).contains("token-0000"));
}

/// What a source and time do to a gate.
#[derive(Clone, Debug)]
enum Step {
    Rotate { tells_previous: bool },
    Read,
    Restart,
    Wait(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<bool>().prop_map(|tells_previous| Step::Rotate { tells_previous }),
        1 => Just(Step::Read),
        1 => Just(Step::Restart),
        3 => prop_oneof![0_i64..30, 600_i64..2_400, 0_i64..9_000, 500_000_i64..700_000].prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_all_that_may_arrive_is_accepted_and_nothing_else(
        steps in prop::collection::vec(any_step(), 1..160),
    ) {
        let mut book = book();
        let (mut now, mut replaced) = (0, Vec::<i64>::new());
        learn(&mut book, 0, false, now);
        for step in steps {
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Rotate { tells_previous } => {
                    replaced.push(now);
                    learn(&mut book, replaced.len(), tells_previous, now);
                }
                Step::Read => {
                    let (token, fingerprint) = (text(replaced.len()), name(replaced.len()));
                    let minted = Some(at(replaced.last().copied().unwrap_or_default()));
                    let token = PublishedToken { text: &token, fingerprint: Some(&fingerprint), minted };
                    book.learn(&bearer(), &token, None, at(now), OVERLAP);
                }
                Step::Restart => {
                    book = TokenBook::new(DigestKey::new(&[1; 32]), "uid-1".into(), book.known());
                }
            }
            prop_assert!(book.known().len() <= MOST_TOKENS);
            let current = replaced.len();
            prop_assert_eq!(judge(&book, current, now), accepted(current));
            prop_assert_eq!(judge(&book, current + 1, now), Judgement::Unknown);
            for (number, replaced) in replaced.iter().enumerate() {
                let expected = match now - replaced {
                    // At one and the same moment nobody can say which of them was replaced first.
                    _ if current - number >= MOST_TOKENS => continue,
                    0..=7_200 => accepted(number),
                    7_201..=612_000 => retired(number),
                    _ => Judgement::Unknown,
                };
                prop_assert_eq!(judge(&book, number, now), expected, "{} of {}", number, current);
            }
        }
    }
}
