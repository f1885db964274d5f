//! The digest changes when, and only when, something that is sent does.

use serde_json::json;

use super::{APPLICATION_COMPLETED, GUPY, provider, subscription};
use crate::api::{HttpMethod, Operation, Operations, WebhookProviderSpec, WebhookSubscriptionSpec};
use crate::provider::Provider;
use crate::provider::digest::of_document;

const HEADERS: &str = "
  - {name: apiKey, valueFrom: {secretKeyRef: {name: receiver, key: apiKey}}}
  - {name: x-plain, value: plain}
parameters: {techOwnerName: Ana}
";

fn object() -> WebhookSubscriptionSpec {
    let headers =
        APPLICATION_COMPLETED.replace("tokenSourceRef", &format!("{}tokenSourceRef", &HEADERS[1..]));
    subscription(&headers)
}

fn digest(provider: &WebhookProviderSpec, spec: &WebhookSubscriptionSpec) -> String {
    of_document(&Provider::resolve(provider).unwrap(), spec)
}

/// Edits the update operation of the preset, written out in the object.
fn update(spec: &mut WebhookProviderSpec, edit: impl FnOnce(&mut Operation)) {
    let resolved = Provider::resolve(spec).unwrap();
    let mut written = resolved.update.written;
    edit(&mut written);
    spec.operations = Some(Operations { update: Some(written), ..Operations::default() });
}

type EditSubscription = fn(&mut WebhookSubscriptionSpec);
type EditProvider = fn(&mut WebhookProviderSpec);

#[test]
fn what_is_sent_changes_the_digest() {
    let before = digest(&provider(GUPY), &object());
    assert_eq!(before.len(), 32);
    assert!(before.chars().all(|c| c.is_ascii_hexdigit()));
    let edits: &[EditSubscription] = &[
        |spec| spec.action = Some("job.published".into()),
        |spec| spec.postback_url.push('/'),
        |spec| spec.active = Some(false),
        |spec| spec.parameters.clear(),
        |spec| *spec.parameters.values_mut().next().unwrap() = "Bia".into(),
        |spec| spec.client_headers[0].name = "Token".into(),
        |spec| {
            let from = spec.client_headers[0].value_from.as_mut().unwrap();
            from.token.as_mut().unwrap().prefix = Some("Bearer ".into());
        },
        |spec| {
            let from = spec.client_headers[1].value_from.as_mut().unwrap();
            from.secret_key_ref.as_mut().unwrap().key = "other".into();
        },
        |spec| {
            let from = spec.client_headers[1].value_from.as_mut().unwrap();
            from.secret_key_ref.as_mut().unwrap().name = "other".into();
        },
        |spec| spec.client_headers[1].value_from.as_mut().unwrap().prefix = Some("token ".into()),
        |spec| spec.client_headers[2].value = Some("other".into()),
        |spec| {
            spec.client_headers.pop();
        },
    ];
    let mut seen = vec![before];
    for edit in edits {
        let mut spec = object();
        edit(&mut spec);
        seen.push(digest(&provider(GUPY), &spec));
    }
    let edits: &[EditProvider] = &[
        |spec| spec.base_url = Some("https://api.example.com".into()),
        |spec| spec.base_url = Some("https://api.gupy.io/v2".into()),
        |spec| spec.content_type = Some("application/json".into()),
        |spec| update(spec, |update| update.method = HttpMethod::Patch),
        |spec| update(spec, |update| update.path.push('/')),
        |spec| update(spec, |update| update.content_type = Some("a/b".into())),
        |spec| {
            update(spec, |update| {
                update.headers.insert("X-A".into(), "b".into());
            });
        },
        |spec| {
            update(spec, |update| {
                update.headers.insert("X-A".into(), "c".into());
            });
        },
        |spec| update(spec, |update| update.json = Some(json!({"h": "{headers}"}))),
        |spec| update(spec, |update| update.json = Some(json!({"h": "{headers|json}"}))),
    ];
    for edit in edits {
        let mut spec = provider(GUPY);
        edit(&mut spec);
        seen.push(digest(&spec, &object()));
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn what_is_not_sent_does_not() {
    let before = digest(&provider(GUPY), &object());
    let edits: &[EditSubscription] = &[
        |spec| spec.active = Some(true),
        |spec| spec.suspend = Some(true),
        |spec| spec.deletion_policy = Some(crate::api::DeletionPolicy::Delete),
        |spec| spec.webhook_id = Some("1".into()),
        |spec| spec.client_headers.reverse(),
        |spec| {
            let from = spec.client_headers[0].value_from.as_mut().unwrap();
            from.token.as_mut().unwrap().prefix = Some(String::new());
        },
        |spec| {
            // What the provider adds anyway, written out.
            let yaml = "{name: Content-Type, value: application/json;charset=utf-8}";
            spec.client_headers.push(serde_saphyr::from_str(yaml).unwrap());
        },
    ];
    for (index, edit) in edits.iter().enumerate() {
        let mut spec = object();
        edit(&mut spec);
        assert_eq!(digest(&provider(GUPY), &spec), before, "{index}");
    }
    let edits: &[EditProvider] = &[
        |spec| spec.base_url = Some("https://API.gupy.io:443/".into()),
        |spec| spec.suspend = Some(true),
        |spec| update(spec, |_| {}),
        |spec| update(spec, |update| update.success = vec![200]),
        |spec| update(spec, |update| update.content_type = Some("application/json".into())),
        |spec| spec.overlap = Some("1m".parse().unwrap()),
        |spec| spec.auth = serde_saphyr::from_str("none: {}").unwrap(),
        |spec| {
            let yaml = "{delete: {method: DELETE, path: '/other/{id}'}}";
            spec.operations = Some(serde_saphyr::from_str(yaml).unwrap());
        },
    ];
    for (index, edit) in edits.iter().enumerate() {
        let mut spec = provider(GUPY);
        edit(&mut spec);
        assert_eq!(digest(&spec, &object()), before, "{index}");
    }
}

/// Whoever names a receiver sends its own name along, whatever it writes under that header itself.
#[test]
fn the_name_of_the_object_is_sent_where_a_receiver_is_named() {
    use crate::api::{LocalReference, SUBSCRIPTION_HEADER};
    let mut spec = object();
    let before = digest(&provider(GUPY), &spec);
    assert_eq!(digest(&provider(GUPY), &spec.as_sent("a")), before, "no receiver, no name");
    spec.receiver_ref = Some(LocalReference { name: "gate".into() });
    assert_eq!(digest(&provider(GUPY), &spec), before, "the receiver itself is not sent");
    let of = |spec: &WebhookSubscriptionSpec, name: &str| digest(&provider(GUPY), &spec.as_sent(name));
    assert_ne!(of(&spec, "a"), before);
    assert_ne!(of(&spec, "a"), of(&spec, "b"), "an heir has another name");
    let mut forged = spec.clone();
    forged.client_headers.push(crate::api::ClientHeader {
        name: SUBSCRIPTION_HEADER.to_lowercase(),
        value: Some("somebody-else".into()),
        value_from: None,
    });
    assert_eq!(of(&forged, "a"), of(&spec, "a"));
    let sent = forged.as_sent("a");
    let values: Vec<_> = sent
        .client_headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(SUBSCRIPTION_HEADER))
        .map(|header| header.value.as_deref())
        .collect();
    assert_eq!(values, [Some("a")]);
}
