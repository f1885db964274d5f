//! The pages of a long listing are paid for by whoever has it read.

use super::{Authors, OTHER, calls, source, theirs};
use crate::scenarios::{HOUR, answered};
use crate::world::{CallFault, Settings};

/// Ten listings of 900 pages, two passes each, one of which fails at every page for a while.
#[tokio::test(start_paused = true)]
async fn the_pages_of_long_listings_take_nobody_elses_budget() {
    let authors = Authors::in_place(Settings { requests_per_minute: 60, ..Settings::default() }).await;
    let mut left = 3_000;
    calls(&authors.world, move |provider, operation, _| {
        left -= 1;
        let fails = operation == "list" && provider == "of-other-0" && left > 0;
        fails.then(|| CallFault::Refused(answered(500, None)))
    });
    authors.source("of-other", source("of-other", None)).await;
    for number in 0..10 {
        let name = format!("of-other-{number}");
        authors.world.outside().conduct.long_listings.insert(theirs(&name), (900, 100));
        authors.provider(&name, Default::default()).await;
        authors.subscription(&name, &name, "of-other").await;
    }
    authors.world.pass(2 * HOUR).await;
    authors.assert_unharmed("listings of 900 pages");
    authors.assert_rotated(2 * HOUR);
    let pages = authors.received(OTHER, "list");
    assert!(pages > 1_000, "they are read all the same: {pages} pages in two hours");
}
