//! Platforms that never answer hold up the calls of whoever named them, and of nobody else.

use super::{Authors, calls, elsewhere, of_other, source};
use crate::scenarios::HOUR;
use crate::world::{CallFault, Settings};

/// Half of them hang in listings, which a create has to wait for, and half in updates.
#[tokio::test(start_paused = true)]
async fn providers_that_hang_keep_nobody_elses_calls_waiting() {
    let authors = Authors::in_place(Settings::default()).await;
    calls(&authors.world, |_, _, _| Some(CallFault::Hangs));
    authors.source("of-other", source("of-other", None)).await;
    for number in 0..120 {
        let name = format!("of-other-{number}");
        authors.provider(&name, elsewhere(&name)).await;
        let mut spec = of_other(&name, &name, "of-other");
        spec.webhook_id = (number % 2 == 0).then(|| number.to_string());
        authors.declare(&name, spec).await;
    }
    authors.world.pass(HOUR).await;
    authors.assert_unharmed("120 providers hang");
    authors.assert_rotated(HOUR);
}
