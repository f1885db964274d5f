//! Tokens that end as soon as they are issued.

use std::time::Duration;

use super::{Authors, OTHER, elsewhere, mints, source};
use crate::scenarios::MINUTE;
use crate::world::{MintConduct, Settings};

/// Every five seconds at most, whatever a token server says of its tokens' life.
#[tokio::test(start_paused = true)]
async fn tokens_that_live_for_milliseconds_are_renewed_every_five_seconds_at_most() {
    for life in [10, 200, 1_000, 4_000].map(Duration::from_millis) {
        let authors = Authors::in_place(Settings::default()).await;
        mints(&authors.world, move |_| Some(MintConduct::Lives(life)));
        authors.provider("of-other", elsewhere("other")).await;
        for number in 0..20 {
            let name = format!("of-other-{number}");
            authors.source(&name, source(&name, None)).await;
            authors.subscription(&name, "of-other", &name).await;
        }
        let passed = 10 * MINUTE;
        authors.world.outside().records = 0;
        authors.world.pass(passed).await;
        authors.assert_unharmed(&format!("tokens of {life:?}"));
        let most = 20 * (passed.as_secs() / 5 + 2);
        let (updates, mints) = (authors.received(OTHER, "update"), authors.received(OTHER, "mint"));
        assert!(updates as u64 <= most && mints as u64 <= most, "{updates} updates, {mints} mints: {life:?}");
        let records = authors.world.outside().records;
        assert!(records <= 2 * most, "{records} status writes: {life:?}");
        let told = serde_json::to_string(&authors.status("of-other-0")).unwrap();
        assert!(told.contains("LifetimeTooShort"), "{life:?}: {told}");
    }
}
