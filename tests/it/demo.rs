//! The first command of the README.

use super::{Ended, run};

#[test]
fn the_demo_rotates_and_says_so() {
    let Ended { code, stdout, stderr } =
        run(&["demo", "--duration", "15s", "--token-life", "9s", "--subscriptions", "3"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let number = |what: &str| -> u64 {
        let line = stdout.lines().rfind(|line| line.trim_start().starts_with(what));
        line.and_then(|line| line.split_whitespace().last()?.parse().ok())
            .unwrap_or_else(|| panic!("{what}: {stdout}"))
    };
    assert!(number("rotations") >= 6, "{stdout}");
    assert_eq!((number("creates"), number("late"), number("doubled")), (3, 0, 0), "{stdout}");
    assert_eq!(number("deliveries refused"), 0, "{stdout}");
    assert!(number("deliveries accepted") > 10, "{stdout}");
    // The whole circle: each token that was minted is seen in a delivery, which is handed on.
    let told = |what: &str| {
        stdout.lines().filter(|line| line.get(10..).is_some_and(|l| l.starts_with(what))).count()
    };
    assert!(told("minted") >= 2 && told("seen") >= 2 && told("handed on") >= 2, "{stdout}");
    assert!(number("handed on once") > 10, "{stdout}");
    assert_eq!((number("parked"), number("lost")), (0, 0), "{stdout}");
}

#[test]
fn tokens_that_cannot_be_kept_fresh_are_no_demo() {
    let ended = run(&["demo", "--token-life", "4s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("--token-life 4s") && ended.stderr.contains("at least 8s"),
        "{}",
        ended.stderr
    );
}
