//! Accounts at one host: an id means a webhook of its own account alone, and to write an id down
//! gives no right to it.

use hookkeeper::api::{ConditionStatus, ConditionType};

use super::{Authors, HONEST, HOUR, OTHER, calls, declare_provider, of_other, source, theirs};
use crate::scenarios::{MINUTE, SECOND, answered, condition};
use crate::world::{CallFault, Settings, World};

/// What the other author declares: so many subscriptions with the ids that the honest one's will have.
fn squat(world: &World, ids: usize) {
    declare_provider(world, "of-other", Default::default());
    let mut outside = world.outside();
    outside.sources.insert(theirs("of-other"), source("of-other", None));
    for number in 1..=ids {
        let mut spec = of_other(&format!("of-other-{number}"), "of-other", "of-other");
        spec.webhook_id = Some(format!("remote-{number}"));
        outside.declare(theirs(&format!("of-other-{number}")), spec);
    }
}

/// They have no credential, or one for an account without such webhooks, or are not answered at all.
#[tokio::test(start_paused = true)]
async fn an_id_that_is_written_down_without_a_right_to_it_keeps_its_owner_from_nothing() {
    for fault in [
        CallFault::Refused(answered(401, None)),
        CallFault::Refused(answered(403, None)),
        CallFault::Refused(answered(404, None)),
        CallFault::Refused(answered(500, None)),
        CallFault::Hangs,
    ] {
        let about = format!("ids are taken, and the answer to who takes them is {fault:?}");
        let world = Authors::world(Settings::default());
        squat(&world, 20);
        calls(&world, move |_, _, _| Some(fault.clone()));
        // They are there before the honest author's, and again after a restart.
        let authors = Authors::start(world);
        authors.world.pass(HOUR).await;
        authors.assert_unharmed(&about);
        let world = authors.world.clone();
        authors.engine.kill().await;
        let authors = Authors::start(world);
        authors.world.pass(HOUR).await;
        authors.assert_unharmed(&about);
        authors.assert_rotated(2 * HOUR);
    }
}

/// The same after the honest author's are there: what is edited in takes nothing over either.
#[tokio::test(start_paused = true)]
async fn an_id_that_is_taken_up_later_keeps_its_owner_from_nothing() {
    let authors = Authors::in_place(Settings::default()).await;
    calls(&authors.world, |_, _, _| Some(CallFault::Refused(answered(401, None))));
    authors.source("of-other", source("of-other", None)).await;
    authors.provider("of-other", Default::default()).await;
    for number in 1..=20 {
        let mut spec = of_other(&format!("of-other-{number}"), "of-other", "of-other");
        spec.webhook_id = Some(format!("remote-{number}"));
        authors.declare(&format!("of-other-{number}"), spec).await;
    }
    authors.world.pass(HOUR).await;
    authors.assert_unharmed("ids are taken up");
    authors.assert_rotated(HOUR);
}

/// Each account counts from 1.
#[tokio::test(start_paused = true)]
async fn accounts_that_number_their_webhooks_alike_get_on() {
    for other_is_first in [true, false] {
        let world = Authors::world(Settings::default());
        world.outside().conduct.numbers_apart = false;
        if other_is_first {
            declare_alike(&world);
        }
        let authors = Authors::start(world);
        authors.world.pass(20 * SECOND).await;
        if !other_is_first {
            declare_alike(&authors.world);
            let changes: Vec<_> = {
                let outside = authors.world.outside();
                let of_other = outside.declared().into_iter();
                of_other.filter(|change| format!("{change:?}").contains(OTHER)).collect()
            };
            for change in changes {
                authors.engine.send(change).await;
            }
        }
        authors.world.pass(HOUR).await;
        authors.assert_unharmed("two accounts of one host");
        authors.assert_rotated(HOUR);
        for number in 1..=10 {
            let status = authors.status(&format!("of-other-{number}"));
            let ready = condition(&status, ConditionType::Ready).map(|ready| ready.status);
            assert_eq!(ready, Some(ConditionStatus::True), "{status:#?}");
        }
        let ids = |namespace: &str| -> std::collections::BTreeSet<String> {
            let outside = authors.world.outside();
            let of = outside.statuses.iter().filter(|(key, _)| *key.namespace == *namespace);
            of.filter_map(|(_, status)| status.webhook_id.clone()).collect()
        };
        assert!(ids(HONEST).is_subset(&ids(OTHER)), "the very same ids");
        authors.world.pass(MINUTE).await;
    }
}

fn declare_alike(world: &World) {
    declare_provider(world, "of-other", Default::default());
    let mut outside = world.outside();
    outside.sources.insert(theirs("of-other"), source("of-other", None));
    for number in 1..=10 {
        let name = format!("of-other-{number}");
        outside.declare(theirs(&name), of_other(&name, "of-other", "of-other"));
    }
}
