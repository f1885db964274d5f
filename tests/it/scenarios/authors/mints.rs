//! Token servers that never answer hold up the mints of whoever named them, and of nobody else.

use super::{Authors, elsewhere, mints, source};
use crate::scenarios::{HOUR, SECOND};
use crate::world::{MintConduct, Settings};

/// Each waits for as long as a token source may ask for.
#[tokio::test(start_paused = true)]
async fn token_endpoints_that_hang_keep_nobody_elses_mints_waiting() {
    let authors = Authors::in_place(Settings::default()).await;
    mints(&authors.world, |_| Some(MintConduct::Hangs));
    authors.provider("of-other", elsewhere("other")).await;
    for number in 0..200 {
        let name = format!("of-other-{number}");
        authors.source(&name, source(&name, Some("60s"))).await;
        authors.subscription(&name, "of-other", &name).await;
    }
    authors.world.pass(HOUR).await;
    authors.assert_unharmed("200 token endpoints hang");
    authors.assert_rotated(HOUR);
}

/// Those who have a token wait for their next one, and those who have none are not before them.
#[tokio::test(start_paused = true)]
async fn token_endpoints_that_hang_after_a_while_keep_nobody_elses_mints_waiting() {
    let authors = Authors::in_place(Settings::default()).await;
    mints(&authors.world, |_| Some(MintConduct::Lives(60 * SECOND)));
    authors.provider("of-other", elsewhere("other")).await;
    for number in 0..200 {
        let name = format!("of-other-{number}");
        authors.source(&name, source(&name, Some("60s"))).await;
        authors.subscription(&name, "of-other", &name).await;
    }
    authors.world.pass(60 * SECOND).await;
    authors.assert_unharmed("200 sources of short tokens");
    mints(&authors.world, |_| Some(MintConduct::Hangs));
    authors.world.pass(HOUR).await;
    authors.assert_unharmed("200 token endpoints hang");
    authors.assert_rotated(HOUR);
}
