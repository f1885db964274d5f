//! Who meets a limit is held back, and nobody else is.

use hookkeeper::api::{ConditionStatus, ConditionType};

use super::{Authors, OTHER, calls, source};
use crate::scenarios::{HOUR, answered, condition};
use crate::world::{CallFault, Settings};

/// The other author's credential meets its limit; the honest one's does not.
#[tokio::test(start_paused = true)]
async fn a_limit_that_one_credential_meets_holds_nobody_else_back() {
    for code in [429, 503, 403] {
        let authors = Authors::in_place(Settings::default()).await;
        let busy = answered(code, Some(HOUR));
        calls(&authors.world, move |_, _, _| Some(CallFault::Refused(busy.clone())));
        authors.source("of-other", source("of-other", None)).await;
        authors.provider("of-other", Default::default()).await;
        for number in 0..20 {
            authors.subscription(&format!("of-other-{number}"), "of-other", "of-other").await;
        }
        authors.world.pass(2 * HOUR).await;
        authors.assert_unharmed(&format!("{code} to another's credential"));
        authors.assert_rotated(2 * HOUR);
        let status = authors.status("of-other-0");
        let ready = condition(&status, ConditionType::Ready).unwrap();
        assert_eq!(ready.status, ConditionStatus::False, "{code}: {status:#?}");
        let asked = authors.received(OTHER, "list");
        assert!(asked <= 4, "{asked} requests in two hours, although it asked for pauses of one");
    }
}
