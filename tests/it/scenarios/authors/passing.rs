//! What comes and goes leaves nothing behind.

use hookkeeper::api::Kind;

use super::{Authors, OTHER, elsewhere, source};
use crate::scenarios::{HOUR, MINUTE};
use crate::world::Settings;

/// Of hundreds of providers, sources and subscriptions that were made and deleted nothing is left.
#[tokio::test(start_paused = true)]
async fn of_what_was_made_and_deleted_nothing_is_left() {
    let authors = Authors::in_place(Settings::default()).await;
    authors.world.pass(2 * MINUTE).await;
    let before = authors.kept();
    assert!(before.subscriptions > 0 && before.tokens > 0, "{before:?}");
    for round in 0..10 {
        let named = |number: usize| format!("of-other-{round}-{number}");
        for number in 0..50 {
            let name = named(number);
            authors.provider(&name, elsewhere(&name)).await;
            authors.source(&name, source(&name, None)).await;
            authors.subscription(&name, &name, &name).await;
        }
        authors.world.pass(MINUTE).await;
        for number in 0..50 {
            authors.gone(Kind::WebhookProvider, &named(number)).await;
            authors.gone(Kind::WebhookSubscription, &named(number)).await;
            authors.gone(Kind::TokenSource, &named(number)).await;
        }
        authors.world.pass(MINUTE).await;
    }
    assert!(authors.received(OTHER, "create") > 100, "they were in use");
    authors.world.pass(HOUR).await;
    assert_eq!(authors.kept(), before);
    authors.assert_unharmed("500 of each made and deleted");
    authors.assert_rotated(HOUR);
}
