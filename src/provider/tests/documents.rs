//! Documents as real APIs want them, and values that try to break out of their place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::CANARY;
use crate::provider::buffer::TooLarge;
use crate::provider::document::DocumentTemplate;
use crate::provider::field::Field;
use crate::provider::path::PathTemplate;
use crate::provider::render::Scope;
use crate::secret::SecretText;

fn parse(document: &Value) -> DocumentTemplate {
    DocumentTemplate::parse(document, &Field::new("json"), &|_, _| Ok(())).unwrap()
}

fn render(document: &Value, scope: &Scope<'_>) -> Value {
    let text = parse(document).render(scope).unwrap();
    serde_json::from_str(text.expose()).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, SecretText)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), SecretText::from(*value))).collect()
}

#[test]
fn documents_of_real_apis_come_out_as_they_want_them() {
    let headers = headers(&[("Authorization", "Bearer t\"1"), ("X-A", "b")]);
    let token = SecretText::from("t\"1");
    let parameters = BTreeMap::from([("username".to_owned(), "hook".to_owned())]);
    let scope = Scope {
        id: Some("42"),
        action: Some("eventHook.created"),
        postback_url: Some("https://gate.example.com/a?b=\"c\""),
        active: Some(true),
        headers: Some(&headers),
        parameters: Some(&parameters),
        token: Some(&token),
        page: None,
    };
    for (what, document, wanted) in [
        (
            "nested, with the credential deep inside (Okta)",
            json!({"name": "gate", "channel": {"type": "HTTP", "version": "1.0.0", "config": {
                "uri": "{postbackUrl}",
                "authScheme": {"type": "HEADER", "key": "Authorization", "value": "Bearer {token}"},
            }}, "events": {"type": "EVENT_TYPE", "items": ["{action}"]}}),
            json!({"name": "gate", "channel": {"type": "HTTP", "version": "1.0.0", "config": {
                "uri": "https://gate.example.com/a?b=\"c\"",
                "authScheme": {"type": "HEADER", "key": "Authorization", "value": "Bearer t\"1"},
            }}, "events": {"type": "EVENT_TYPE", "items": ["eventHook.created"]}}),
        ),
        (
            "a string that holds JSON (Datadog)",
            json!({"url": "{postbackUrl}", "custom_headers": "{headers|json}"}),
            json!({"url": "https://gate.example.com/a?b=\"c\"",
                "custom_headers": "{\"Authorization\":\"Bearer t\\\"1\",\"X-A\":\"b\"}"}),
        ),
        (
            "one header, whose name stands in the path (GitLab)",
            json!({"value": "{headers.authorization}"}),
            json!({"value": "Bearer t\"1"}),
        ),
        (
            "a list of pairs (Contentful)",
            json!({"active": "{active}", "headers": "{headers|pairs(key,value)}"}),
            json!({"active": true, "headers": [
                {"key": "Authorization", "value": "Bearer t\"1"}, {"key": "X-A", "value": "b"}]}),
        ),
        (
            "user name and password, and the same in a header (Adyen)",
            json!({"username": "{parameters.username}", "password": "{token}",
                "additional": "Basic {token|base64}"}),
            json!({"username": "hook", "password": "t\"1", "additional": "Basic dCIx"}),
        ),
        (
            "a list at the root: a JSON Patch (ConfigCat)",
            json!([{"op": "replace", "path": "/webHookHeaders/0",
                "value": {"key": "token", "value": "{token}", "isSecure": true}}]),
            json!([{"op": "replace", "path": "/webHookHeaders/0",
                "value": {"key": "token", "value": "t\"1", "isSecure": true}}]),
        ),
        (
            "the id in the document, and braces that are text",
            json!({"id": "{id}", "note": "{{id}", "n": 3, "nothing": null}),
            json!({"id": "42", "note": "{id}", "n": 3, "nothing": null}),
        ),
        (
            "JSON inside of a string, written by hand around a placeholder",
            json!({"body": "{{\"headers\":{headers|json}}"}),
            json!({"body": "{\"headers\":{\"Authorization\":\"Bearer t\\\"1\",\"X-A\":\"b\"}}"}),
        ),
    ] {
        assert_eq!(render(&document, &scope), wanted, "{what}");
    }
    let path = "/projects/1/hooks/{id}/custom_headers/Authorization";
    let path = PathTemplate::parse(path, &Field::new("path")).unwrap();
    assert_eq!(path.render(&scope).unwrap(), "/projects/1/hooks/42/custom_headers/Authorization");
}

#[test]
fn what_needs_something_absent_is_left_out() {
    let empty = BTreeMap::new();
    let scope = Scope { parameters: Some(&empty), headers: Some(&[]), action: Some("a"), ..Scope::default() };
    let document = json!({
        "single": "{parameters.x}",
        "mixed": "x-{parameters.x}-{action}",
        "header": "{headers.x}",
        "list": ["{parameters.x}", "{action}", "{parameters.x}"],
        "object": {"inner": "{parameters.x}"},
        "headers": "{headers}",
        "empty": "",
    });
    assert_eq!(render(&document, &scope), json!({"list": ["a"], "object": {}, "headers": {}, "empty": ""}));
}

#[test]
fn a_document_that_cannot_be_used_is_refused_with_its_place() {
    let mut deep = json!("{token}");
    for _ in 0..40 {
        deep = json!([deep]);
    }
    for (document, field) in [
        (json!("{token}"), "json"),
        (json!(1), "json"),
        (json!({"a": [{"b": "{tokn}"}]}), "json.a[0].b"),
        (json!({"a": {"{token}": 1}}), "json.a.{token}"),
        (json!(vec![0; 2000]), "json[999]"),
        (deep, &format!("json{}", "[0]".repeat(32))),
    ] {
        let refused = DocumentTemplate::parse(&document, &Field::new("json"), &|_, _| Ok(()));
        assert_eq!(refused.unwrap_err().field, field);
    }
}

#[test]
fn a_document_that_grows_too_large_is_given_up_early() {
    let token = SecretText::new("\"".repeat(8192));
    let headers: Vec<_> = (0..32).map(|n| (format!("h{n}"), token.clone())).collect();
    let scope = Scope { headers: Some(&headers), token: Some(&token), ..Scope::default() };
    let bomb = json!(vec!["{headers|json|json|json|json}"; 900]);
    assert_eq!(parse(&bomb).render(&scope), Err(TooLarge));
    let many = "{token|base64|base64|base64|base64}".repeat(32);
    let many = json!({"a": many, "b": many});
    assert_eq!(parse(&many).render(&scope), Err(TooLarge));
}

#[test]
fn nothing_rendered_is_ever_printed() {
    let token = SecretText::from(CANARY);
    let headers = headers(&[("token", CANARY)]);
    let scope = Scope { headers: Some(&headers), token: Some(&token), ..Scope::default() };
    let rendered = parse(&json!({"a": "{token}", "b": "{headers}"})).render(&scope).unwrap();
    assert!(rendered.expose().contains(CANARY));
    for shown in [format!("{rendered:?}"), format!("{scope:?}")] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

proptest! {
    #[test]
    fn a_value_stays_in_its_leaf_whatever_it_holds(
        text in r#"(?s)(.|"|\\|\{|\}|\[|,|:|\n|\x00|\{token\}|\{\{){0,24}"#,
        token in r#"(?s)(.|"|\\|\{|\}|\[|,|:|\n|\x00){0,24}"#,
        name in r#"(?s)(.|"|\\|\}|:){1,12}"#,
        active in any::<bool>(),
    ) {
        let secret = SecretText::from(token.as_str());
        let headers = vec![(name.clone(), secret.clone())];
        let parameters = BTreeMap::from([("p".to_owned(), text.clone())]);
        let scope = Scope {
            id: Some(&text),
            action: Some(&text),
            postback_url: Some(&text),
            active: Some(active),
            headers: Some(&headers),
            parameters: Some(&parameters),
            token: Some(&secret),
            page: Some(7),
        };
        let rendered = render(&json!({
            "id": "{id}",
            "mixed": "<{action}|{token}>",
            "list": ["{postbackUrl}", "{active}", "{page}"],
            "headers": "{headers}",
            "pairs": "{headers|pairs(k,v)}",
            "inside": "{headers|json}",
            "parameters": "{parameters}",
        }), &scope);
        let object = json!({&name: &token});
        prop_assert_eq!(&rendered, &json!({
            "id": &text,
            "mixed": format!("<{text}|{token}>"),
            "list": [&text, active, 7],
            "headers": &object,
            "pairs": [{"k": &name, "v": &token}],
            "inside": object.to_string(),
            "parameters": {"p": &text},
        }));
    }
}

#[test]
fn the_tokens_own_scheme_is_taken_off_where_a_text_adds_one() {
    let token = SecretText::from("Bearer abc");
    let scope = Scope { token: Some(&token), ..Scope::default() };
    for (text, expected) in [
        ("Bearer {token}", "Bearer abc"),
        ("Authorization: Bearer {token}", "Authorization: Bearer abc"),
        ("JWT {token}", "JWT abc"),
        ("{token}", "Bearer abc"),
        ("key={token}", "key=Bearer abc"),
    ] {
        assert_eq!(render(&json!({ "a": text }), &scope), json!({ "a": expected }), "{text}");
    }
}
