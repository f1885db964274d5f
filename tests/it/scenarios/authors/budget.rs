//! Where a platform takes less than is asked for, it is shared by author.

use std::time::Duration;

use super::{Authors, HONEST, OTHER, mints, source};
use crate::scenarios::{HOUR, MINUTE, SECOND};
use crate::world::{MintConduct, Settings};

/// Three hundred tokens that end every minute, at a platform that takes one request a second: the
/// honest author's few come in time, and not at their last moment.
#[tokio::test(start_paused = true)]
async fn many_early_deadlines_leave_a_neighbour_its_share_of_the_budget() {
    let authors = Authors::in_place(Settings { requests_per_minute: 60, ..Settings::default() }).await;
    mints(&authors.world, |_| Some(MintConduct::Lives(MINUTE)));
    authors.provider("of-other", Default::default()).await;
    for number in 0..300 {
        let name = format!("of-other-{number}");
        authors.source(&name, source(&name, None)).await;
        authors.subscription(&name, "of-other", &name).await;
    }
    authors.world.pass(2 * HOUR).await;
    authors.assert_unharmed("300 early deadlines");
    authors.assert_rotated(2 * HOUR);
    let least = least_left(&authors);
    assert!(least > Duration::from_secs(10), "a token of 40 s is due with 13 s left, and had {least:?}");
    let theirs = authors.received(OTHER, "update") + authors.received(OTHER, "create");
    assert!(theirs > 3_000, "what the honest one leaves is used: {theirs} in two hours");
}

/// How much life the honest author's short tokens had left when they were replaced, at the least.
fn least_left(authors: &Authors) -> Duration {
    let outside = authors.world.outside();
    let updates = outside.received.iter().filter(|received| {
        received.namespace == HONEST && received.operation == "update" && received.about == "action.0"
    });
    let times: Vec<_> = updates.map(|update| update.at).collect();
    let longest = times.windows(2).map(|pair| (pair[1] - pair[0]).to_std().unwrap()).max().unwrap();
    (40 * SECOND).saturating_sub(longest)
}
