//! What is refused when an object is read, and which field the message names.

use serde_json::{Value, json};

use super::{APPLICATION_COMPLETED, GUPY, provider, subscription};
use crate::api::{WebhookProviderSpec, WebhookSubscriptionSpec};
use crate::provider::Provider;

/// A provider without a preset that breaks no rule.
fn complete() -> Value {
    json!({
        "baseUrl": "https://api.example.com",
        "auth": {"bearer": {"secretKeyRef": {"name": "api", "key": "token"}}},
        "contentType": "application/json",
        "parameters": [{"name": "owner"}],
        "operations": {
            "list": {"method": "GET", "path": "/hooks?page={page}", "items": "/items",
                "pagination": {"untilEmpty": {}}, "fields": {"id": "/id"}},
            "create": {"method": "POST", "path": "/hooks", "json": {"h": "{headers}"}, "capture": {"id": "/id"}},
            "update": {"method": "PUT", "path": "/hooks/{id}", "json": {"h": "{headers}", "o": "{parameters.owner}"}},
            "delete": {"method": "DELETE", "path": "/hooks/{id}"},
        },
    })
}

fn resolve(spec: Value) -> Result<Provider, crate::engine::ports::Invalid> {
    Provider::resolve(&serde_json::from_value::<WebhookProviderSpec>(spec).unwrap())
}

/// The object with the value at the pointer set, or taken away when it is null.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    object
}

#[test]
fn the_example_breaks_no_rule() {
    assert!(resolve(complete()).is_ok());
}

#[test]
fn a_provider_that_breaks_a_rule_is_refused_with_the_field() {
    let unset = Value::Null;
    for (pointer, value, field) in [
        ("/preset", json!("gupi"), "spec.preset"),
        ("/baseUrl", unset.clone(), "spec.baseUrl"),
        ("/baseUrl", json!("api.example.com"), "spec.baseUrl"),
        ("/baseUrl", json!("ftp://api.example.com"), "spec.baseUrl"),
        ("/baseUrl", json!("https://u:p@api.example.com"), "spec.baseUrl"),
        ("/baseUrl", json!("https://api.example.com?x"), "spec.baseUrl"),
        ("/baseUrl", json!("https://api.example.com/#x"), "spec.baseUrl"),
        ("/baseUrl", json!("https:///api.example.com"), "spec.baseUrl"),
        ("/baseUrl", json!("https://api.example.com/\n"), "spec.baseUrl"),
        ("/baseUrl", json!("https://api.example.com:70000"), "spec.baseUrl"),
        ("/baseUrl", json!("https:\\\\api.example.com"), "spec.baseUrl"),
        ("/auth", json!({}), "spec.auth"),
        ("/auth/none", json!({}), "spec.auth"),
        (
            "/auth",
            json!({"basic": {"username": {"value": "a:b"}, "password": {"secretKeyRef": {"name": "a", "key": "b"}}}}),
            "spec.auth.basic.username",
        ),
        ("/auth", json!({"headers": [{"name": "a b", "value": "x"}]}), "spec.auth.headers[0].name"),
        ("/auth", json!({"headers": [{"name": "Host", "value": "x"}]}), "spec.auth.headers[0].name"),
        ("/auth", json!({"headers": [{"name": "a"}]}), "spec.auth.headers[0]"),
        ("/auth", json!({"headers": [{"name": "a", "value": "b\r\nc"}]}), "spec.auth.headers[0].value"),
        (
            "/auth",
            json!({"headers": [{"name": "a", "value": "x"}, {"name": "A", "value": "x"}]}),
            "spec.auth.headers[1].name",
        ),
        ("/contentType", json!("a\nb"), "spec.contentType"),
        ("/contentType", json!(""), "spec.contentType"),
        ("/parameters", json!([{"name": "owner"}, {"name": "owner"}]), "spec.parameters[1].name"),
        ("/parameters", json!([{"name": "a|b"}]), "spec.parameters[0].name"),
        ("/parameters", json!([]), "spec.operations.update.json.o"),
        ("/limits", json!({"requestsPerMinute": 0}), "spec.limits.requestsPerMinute"),
        ("/limits", json!({"maxConcurrent": -1}), "spec.limits.maxConcurrent"),
        ("/limits", json!({"timeout": "0s"}), "spec.limits.timeout"),
        ("/postback", json!({"warnHosts": ["a.example", "https://b.example"]}), "spec.postback.warnHosts[1]"),
        ("/operations", unset.clone(), "spec.operations.update"),
        ("/operations/update", unset.clone(), "spec.operations.update"),
        ("/operations/update/method", json!("GET"), "spec.operations.update.method"),
        ("/operations/list/method", json!("DELETE"), "spec.operations.list.method"),
        ("/operations/update/path", json!("hooks"), "spec.operations.update.path"),
        ("/operations/update/path", json!("/{page}"), "spec.operations.update.path"),
        ("/operations/update/path", json!("/{token}"), "spec.operations.update.path"),
        ("/operations/create/path", json!("/hooks/{id}"), "spec.operations.create.path"),
        ("/operations/delete/path", json!("/{headers.a}"), "spec.operations.delete.path"),
        ("/operations/create/json/a", json!(["x", "{id}"]), "spec.operations.create.json.a[1]"),
        (
            "/operations/update/json/clientHeaders",
            json!("{headers|nope}"),
            "spec.operations.update.json.clientHeaders",
        ),
        ("/operations/update/json/a", json!("{parameters.nope}"), "spec.operations.update.json.a"),
        ("/operations/update/json", json!({"a": "{id}"}), "spec.operations.update.json"),
        ("/operations/update/json", unset.clone(), "spec.operations.update.json"),
        ("/operations/create/json", json!({"a": "{action}"}), "spec.operations.create.json"),
        ("/operations/update/headers", json!({"a b": "x"}), "spec.operations.update.headers.a b"),
        (
            "/operations/update/headers",
            json!({"authorization": "x"}),
            "spec.operations.update.headers.authorization",
        ),
        (
            "/operations/update/headers",
            json!({"Content-Type": "x"}),
            "spec.operations.update.headers.Content-Type",
        ),
        ("/operations/update/headers", json!({"X": "a\n{id}"}), "spec.operations.update.headers.X"),
        ("/operations/update/headers", json!({"X": "{headers}"}), "spec.operations.update.headers.X"),
        ("/operations/update/headers", json!({"X": "1", "x": "2"}), "spec.operations.update.headers.x"),
        ("/operations/update/contentType", json!("a\u{0}"), "spec.operations.update.contentType"),
        ("/operations/delete/contentType", json!("a/b"), "spec.operations.delete.contentType"),
        ("/operations/update/success", json!([200, 302]), "spec.operations.update.success[1]"),
        ("/operations/update/success", json!([70000]), "spec.operations.update.success[0]"),
        ("/operations/update/missing", json!([200]), "spec.operations.update.missing[0]"),
        ("/operations/create/missing", json!([404]), "spec.operations.create.missing"),
        ("/operations/create/capture", unset.clone(), "spec.operations.create.capture"),
        ("/operations/create/capture", json!({"id": "id"}), "spec.operations.create.capture.id"),
        ("/operations/create/capture", json!({"id": "/id", "x": "/x"}), "spec.operations.create.capture.x"),
        ("/operations/update/capture", json!({"id": "/id"}), "spec.operations.update.capture"),
        ("/operations/update/items", json!("/a"), "spec.operations.update.items"),
        ("/operations/list/settle", json!("1m"), "spec.operations.list.settle"),
        ("/operations/list/json", json!({"a": "{page}"}), "spec.operations.list.json"),
        ("/operations/list/items", json!("results"), "spec.operations.list.items"),
        ("/operations/list/fields", unset.clone(), "spec.operations.list.fields"),
        ("/operations/list/fields/id", json!("id"), "spec.operations.list.fields.id"),
        ("/operations/list/fields/active", json!({"path": "x"}), "spec.operations.list.fields.active.path"),
        ("/operations/list/pagination", unset.clone(), "spec.operations.list.pagination"),
        ("/operations/list/pagination/none", json!({}), "spec.operations.list.pagination"),
        ("/operations/list/pagination", json!({"none": {}}), "spec.operations.list.path"),
        ("/operations/list/path", json!("/hooks"), "spec.operations.list.path"),
        (
            "/operations/list/pagination",
            json!({"pageNumber": {"totalPages": "x"}}),
            "spec.operations.list.pagination.pageNumber.totalPages",
        ),
    ] {
        let refused = resolve(with(complete(), pointer, value.clone())).unwrap_err();
        assert_eq!(refused.field, field, "{pointer} {value}: {refused}");
    }
    let unknown = resolve(with(complete(), "/preset", json!("gupi"))).unwrap_err();
    assert!(unknown.problem.contains("known are: gupy"), "{unknown}");
}

fn edited(edit: impl FnOnce(&mut WebhookSubscriptionSpec)) -> WebhookSubscriptionSpec {
    let mut spec = subscription(APPLICATION_COMPLETED);
    edit(&mut spec);
    spec
}

#[test]
fn a_subscription_that_breaks_a_rule_is_refused_with_the_field() {
    let gupy = Provider::resolve(&provider(GUPY)).unwrap();
    let header = |yaml: &str| {
        let header = serde_saphyr::from_str(yaml).unwrap();
        edited(|spec| spec.client_headers.push(header))
    };
    for (spec, field) in [
        (edited(|spec| spec.action = None), "spec.action"),
        (edited(|spec| spec.postback_url = "http://gate.example.com/".into()), "spec.postbackUrl"),
        (edited(|spec| spec.postback_url = "https://10.0.0.1/".into()), "spec.postbackUrl"),
        (edited(|spec| spec.webhook_id = Some("..".into())), "spec.webhookId"),
        (edited(|spec| spec.client_headers.clear()), "spec.clientHeaders"),
        (
            edited(|spec| {
                spec.parameters.insert("techOwner".into(), "x".into());
            }),
            "spec.parameters.techOwner",
        ),
        (header("{name: a, value: '{{ token }}'}"), "spec.clientHeaders[1].value"),
        (
            header("{name: a, valueFrom: {prefix: '{{', secretKeyRef: {name: a, key: b}}}"),
            "spec.clientHeaders[1].valueFrom.prefix",
        ),
        (header("{name: a, valueFrom: {prefix: x, token: {}}}"), "spec.clientHeaders[1]"),
        (
            header("{name: a, valueFrom: {token: {prefix: '{{'}}}"),
            "spec.clientHeaders[1].valueFrom.token.prefix",
        ),
        (header("{name: a, value: \"b\\nc\"}"), "spec.clientHeaders[1].value"),
        (header("{name: a}"), "spec.clientHeaders[1]"),
        (header("{name: a, valueFrom: {}}"), "spec.clientHeaders[1]"),
        (header("{name: a, value: x, valueFrom: {token: {}}}"), "spec.clientHeaders[1]"),
        (header("{name: TOKEN, value: x}"), "spec.clientHeaders[1].name"),
        (header("{name: 'a b', value: x}"), "spec.clientHeaders[1].name"),
        (header("{name: '', value: x}"), "spec.clientHeaders[1].name"),
    ] {
        let refused = gupy.check(&spec).unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
    }
}

#[test]
fn what_would_be_refused_when_it_is_sent_is_refused_before() {
    let update = |member: &str, value: Value| {
        resolve(with(complete(), &format!("/operations/update/{member}"), value)).unwrap()
    };
    let owned = |owner: &str| edited(|spec| drop(spec.parameters.insert("owner".into(), owner.into())));
    let in_path = update("path", json!("/owners/{parameters.owner}/hooks/{id}"));
    let in_header = update("headers", json!({"X-Owner": "{parameters.owner}"}));
    for (provider, owner) in
        [(&in_path, "."), (&in_path, ".."), (&in_header, "a\nb"), (&in_header, "a\r\nX-Evil: 1")]
    {
        let refused = provider.check(&owned(owner)).unwrap_err();
        assert_eq!(refused.field, "spec.parameters.owner", "{refused}");
    }
    let long = in_path.check(&owned(&"%".repeat(2048))).is_ok();
    assert!(long, "6 KiB are within the limit");
    for provider in [&in_path, &in_header] {
        assert!(provider.check(&owned("a b..c")).is_ok());
    }
}

#[test]
fn what_the_provider_has_no_operation_for_is_warned_of() {
    let without = resolve(with(complete(), "/operations/delete", Value::Null)).unwrap();
    let deletes = edited(|spec| spec.deletion_policy = Some(crate::api::DeletionPolicy::Delete));
    let warning = without.warning(&deletes).unwrap();
    assert!(warning.contains("no operation to delete"), "{warning}");
    assert_eq!(without.warning(&edited(|_| {})), None);
    assert_eq!(resolve(complete()).unwrap().warning(&deletes), None);

    let without = resolve(with(complete(), "/operations/create", Value::Null)).unwrap();
    let warning = without.warning(&edited(|_| {})).unwrap();
    assert!(
        warning.starts_with("spec.webhookId: ") && warning.contains("no operation to create"),
        "{warning}"
    );
    assert_eq!(without.warning(&edited(|spec| spec.webhook_id = Some("w1".into()))), None);
    let adopts = edited(|spec| spec.adoption_policy = Some(crate::api::AdoptionPolicy::Matching));
    assert_eq!(without.warning(&adopts), None);
}

#[test]
fn what_a_request_needs_must_be_set() {
    let needs = |json: Value, path: &str, parameters: Value| {
        let spec = with(complete(), "/operations/update/json", json);
        let spec = with(spec, "/operations/update/path", json!(path));
        resolve(with(spec, "/parameters", parameters)).unwrap()
    };
    let optional = json!([{"name": "owner"}]);
    let in_path = needs(json!({"t": "{token}"}), "/{parameters.owner}/{id}", optional.clone());
    let required = needs(json!({"t": "{token}"}), "/{id}", json!([{"name": "owner", "required": true}]));
    for provider in [in_path, required] {
        let spec = subscription(APPLICATION_COMPLETED);
        assert_eq!(provider.check(&spec).unwrap_err().field, "spec.parameters.owner");
        let spec = edited(|spec| {
            spec.parameters.insert("owner".into(), "x".into());
        });
        assert_eq!(provider.check(&spec), Ok(()));
    }
    let no_action = needs(json!({"t": "{token}"}), "/{id}", optional.clone());
    assert_eq!(no_action.check(&edited(|spec| spec.action = None)), Ok(()));

    // The only leaf with the token would be left out.
    let with_owner = needs(json!({"t": "{parameters.owner}:{token}"}), "/{id}", optional.clone());
    assert!(with_owner.check(&subscription(APPLICATION_COMPLETED)).is_err());
    let by_name = needs(json!({"t": "{headers.Token}"}), "/{id}", optional.clone());
    assert_eq!(by_name.check(&subscription(APPLICATION_COMPLETED)), Ok(()));
    let other_name = needs(json!({"t": "{headers.Authorization}"}), "/{id}", optional);
    let refused = other_name.check(&subscription(APPLICATION_COMPLETED)).unwrap_err();
    assert_eq!(refused.field, "spec.clientHeaders");
}

#[test]
fn every_request_counts_for_what_must_be_set() {
    let spec = with(complete(), "/operations/create/json", json!({"h": "{headers}", "a": "{action}"}));
    let provider = resolve(spec).unwrap();
    let refused = provider.check(&edited(|spec| spec.action = None)).unwrap_err();
    assert_eq!(refused.field, "spec.action");

    let spec = with(complete(), "/operations/delete/path", json!("/{parameters.owner}/{id}"));
    let provider = resolve(spec).unwrap();
    let refused = provider.check(&subscription(APPLICATION_COMPLETED)).unwrap_err();
    assert_eq!(refused.field, "spec.parameters.owner");

    // Only what carries the token must do so.
    let spec = with(complete(), "/operations/delete/json", json!({"id": "{id}"}));
    let provider = resolve(spec).unwrap();
    assert_eq!(provider.check(&subscription(APPLICATION_COMPLETED)), Ok(()));
}
