//! A provider that lists more than anybody has, beside somebody who has few.

use hookkeeper::api::{
    ConditionStatus, OAuth2TokenSource, ObjectKey, Reason, TokenSourceSpec, WebhookProviderSpec,
};

use super::{DAY, HOUR, MINUTE, ready};
use crate::world::{Remote, Settings, World, subscription};

/// Two authors: each of the guest's subscriptions is alike many that their provider lists. They are told of
/// a few of them; the other one is served as ever, and is never late.
#[tokio::test(start_paused = true)]
async fn a_long_list_of_one_author_keeps_nobody_else_waiting() {
    const SUBSCRIPTIONS: usize = 100;
    let world = World::new(Settings { token_life: 2 * HOUR, ..Settings::default() });
    world.populate(4, 1);
    let guest = |name: &str| ObjectKey::new("guest", name);
    let url = "https://guest.example.com/in";
    {
        let mut outside = world.outside();
        let base_url = Some("https://guests.example.com".to_owned());
        outside
            .providers
            .insert(guest("provider"), WebhookProviderSpec { base_url, ..WebhookProviderSpec::default() });
        let oauth2 = OAuth2TokenSource { audience: Some("guest".into()), ..OAuth2TokenSource::default() };
        let source = TokenSourceSpec { oauth2: Some(oauth2), ..TokenSourceSpec::default() };
        outside.sources.insert(guest("source"), source);
        for number in 0..SUBSCRIPTIONS {
            let mut spec = subscription(number, "source");
            spec.postback_url = url.to_owned();
            outside.declare(guest(&format!("subscription-{number}")), spec);
            for copy in 0..30 {
                let action = format!("action.{number}");
                let remote = Remote { action, url: url.into(), active: true, token: String::new() };
                outside.remotes.insert(format!("copy-{number:03}-{copy:02}"), remote);
            }
        }
    }
    let _engine = world.start();
    world.pass(10 * MINUTE).await;
    for number in 0..4 {
        let status = world.status(&format!("subscription-{number}"));
        assert_eq!(ready(&status), (ConditionStatus::True, Reason::Created));
    }
    let status = world.outside().statuses[&guest("subscription-7")].clone();
    let message = &super::condition(&status, hookkeeper::api::ConditionType::Stalled).unwrap().message;
    assert_eq!(
        message,
        "more than 5 webhooks with the same action and postback URL exist at the provider (copy-007-00, copy-007-01, \
         copy-007-02, copy-007-03, copy-007-04 and others); set spec.webhookId to the one that is meant and delete the \
         others there"
    );
    world.pass(DAY).await;
    assert_eq!(world.outside().late, Vec::new());
    assert_eq!(world.outside().creates, 4, "nothing is created where it is not clear what is meant");
    for number in 0..4 {
        assert_eq!(ready(&world.status(&format!("subscription-{number}"))).0, ConditionStatus::True);
    }
}
