use serde_json::{Value, json};

use super::*;

mod cases;

use cases::{P, R, W, changed, example, set};

const CANARY: &str = "s3cr3t-c4n4ry";

fn problems(kind: Kind, object: &Value) -> Vec<Problem> {
    validate(kind, object, None).err().unwrap_or_default()
}

#[test]
fn good_objects_keep_all_rules() {
    for kind in crd::KINDS {
        assert_eq!(problems(kind, &example(kind)), [], "{kind}");
    }
}

#[test]
fn what_is_allowed_passes() {
    for (kind, pointer, value) in cases::good() {
        assert_eq!(problems(kind, &changed(kind, pointer, &value)), [], "{pointer} = {value}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_and_the_field_is_named() {
    for (kind, pointer, value, field) in
        cases::breaking_the_schema().into_iter().chain(cases::breaking_a_rule_beside_it())
    {
        let found = problems(kind, &changed(kind, pointer, &value));
        let shown: String = value.to_string().chars().take(80).collect();
        assert_eq!(
            found.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
            [field],
            "{kind} {pointer} = {shown}: {found:?}"
        );
        assert!(!found[0].problem.is_empty());
    }
}

#[test]
fn an_object_without_a_spec_is_refused() {
    for object in [json!({}), json!({ "spec": null }), json!(null), json!([]), json!("x")] {
        for kind in crd::KINDS {
            assert_eq!(problems(kind, &object)[0].field, "spec", "{object}");
        }
    }
    assert_eq!(problems(W, &json!({ "spec": [] }))[0].field, "spec");
}

#[test]
fn the_provider_cannot_be_changed() {
    let old = example(W);
    let mut new = example(W);
    assert_eq!(validate(W, &new, Some(&old)), Ok(()));
    set(&mut new, "/providerRef/name", json!("other"));
    let found = validate(W, &new, Some(&old)).unwrap_err();
    assert_eq!(found[0].field, "spec.providerRef");
    assert_eq!(validate(W, &new, None), Ok(()));
}

#[test]
fn every_broken_rule_is_reported_and_no_more_than_a_person_reads() {
    let mut object = example(W);
    set(&mut object, "/action", json!(""));
    set(&mut object, "/clientHeaders/1/name", json!("a b"));
    set(&mut object, "/rotation/overlap", json!("soon"));
    let fields: Vec<String> = problems(W, &object).into_iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["spec.action", "spec.clientHeaders[1].name", "spec.rotation.overlap"]);
    let unknown: serde_json::Map<_, _> = (0..10_000).map(|number| (format!("x{number}"), json!(1))).collect();
    let found = problems(W, &json!({ "spec": unknown }));
    assert!((10..100).contains(&found.len()), "{}", found.len());
}

#[test]
fn no_problem_quotes_a_value() {
    let bad = [
        ("/clientHeaders/1/value", format!("{CANARY}\n")),
        ("/clientHeaders/1/value", format!("{CANARY}{{{{")),
        ("/clientHeaders/1/name", format!("{CANARY} x")),
        ("/postbackUrl", format!("https://{CANARY}@example.com")),
        ("/adoptionPolicy", CANARY.to_owned()),
        ("/rotation/overlap", CANARY.to_owned()),
        ("/active", CANARY.to_owned()),
        ("/clientHeaders", CANARY.to_owned()),
    ];
    for (pointer, value) in bad {
        let mut object = example(W);
        set(&mut object, pointer, json!(value));
        let found = problems(W, &object);
        assert!(!found.is_empty());
        let shown = found.iter().map(ToString::to_string).collect::<String>();
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn headers_that_the_rule_of_the_schema_names_are_those_of_the_list() {
    let of = |name: &str| problems(R, &changed(R, "/duplicates", &json!({ "header": name })));
    for name in crate::api::WRITTEN_ON_THE_WAY {
        assert_eq!(of(&name.to_uppercase()).len(), 1, "{name}");
        assert!(!crate::api::is_of_the_platform(name), "{name}");
    }
    assert_eq!(of("HookKeeper-Delivery").len(), 1);
    assert!(!crate::api::is_of_the_platform("HookKeeper-Delivery"));
    for name in ["authorization", "token", "signature", "cookie", "webhook-id", "x-hookkeeper-id"] {
        assert_eq!(of(name), [], "{name}");
        assert!(crate::api::is_of_the_platform(name), "{name}");
    }
}

#[test]
fn nulls_count_as_left_out_but_not_inside_a_document() {
    let mut object = example(P);
    set(&mut object, "/suspend", json!(null));
    let spec: WebhookProviderSpec = decode(&object, None).unwrap();
    assert_eq!(spec.suspend, None);
    let create = spec.operations.unwrap().create.unwrap();
    assert_eq!(create.json.unwrap()["nothing"], Value::Null);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            "(https?://)?[a-z:@/?#%]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Mostly names that the schemas know.
    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "providerRef",
                "name",
                "postbackUrl",
                "clientHeaders",
                "value",
                "valueFrom",
                "token",
                "prefix",
                "secretKeyRef",
                "key",
                "tokenSource",
                "oauth2",
                "http",
                "url",
                "headers",
                "json",
                "rotation",
                "overlap",
                "parameters",
                "auth",
                "none",
                "preset",
                "operations",
                "list",
                "method",
                "path",
                "verification",
                "hmac",
                "header",
                "secretKeyRefs",
                "sourceRanges",
                "duplicates",
                "forward",
                "retry",
                "fallback",
                "mode",
            ])
            .prop_map(ToOwned::to_owned),
            ".{0,8}",
        ]
    }

    /// Replaces one member somewhere in an object.
    fn mutate(value: &mut Value, path: &[prop::sample::Index], new: Value) {
        let Some((step, rest)) = path.split_first() else {
            *value = new;
            return;
        };
        match value {
            Value::Object(members) if !members.is_empty() => {
                let at = step.index(members.len());
                let member = members.values_mut().nth(at).unwrap();
                mutate(member, rest, new);
            }
            Value::Array(items) if !items.is_empty() => {
                let at = step.index(items.len());
                mutate(&mut items[at], rest, new);
            }
            other => *other = new,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What keeps the schema can be read: the walker and the types agree.
        #[test]
        fn validation_is_total_and_agrees_with_the_types(
            path in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
            new in any_value(),
        ) {
            for kind in crd::KINDS {
                let mut object = example(kind);
                mutate(&mut object["spec"], &path, new.clone());
                for problem in problems(kind, &object) {
                    prop_assert!(problem.field.starts_with("spec"));
                    prop_assert!(!problem.problem.contains("please report"), "{object}");
                    prop_assert!(!problem.problem.contains("cannot be evaluated"), "{object}");
                }
            }
        }
    }
}
