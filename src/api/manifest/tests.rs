use super::*;

/// The shortest useful file, as the documentation prints it.
const SHORTEST: &str = "\
# kubectl create secret generic gupy-api --from-literal=token=…
# kubectl create secret generic integration-client --from-literal=secret=…
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: gupy}
spec:
  preset: gupy
  auth:
    bearer: {secretKeyRef: {name: gupy-api, key: token}}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: application-completed}
spec:
  providerRef: {name: gupy}
  action: application.completed
  postbackUrl: https://integrations.example.com/gupy
  clientHeaders:
    - {name: token, valueFrom: {token: {}}}
  tokenSource:
    oauth2:
      tokenUrl: https://auth.example.com/oauth/token
      clientId: {value: hr-integration}
      clientSecret: {secretKeyRef: {name: integration-client, key: secret}}
";

fn all(text: &str) -> Vec<Document> {
    read(text).into_iter().map(|result| result.unwrap_or_else(|error| panic!("{error}"))).collect()
}

fn only_error(text: &str) -> DocumentError {
    let mut results = read(text);
    assert_eq!(results.len(), 1, "{results:?}");
    results.remove(0).unwrap_err()
}

#[test]
fn the_shortest_useful_file_is_read() {
    let documents = all(SHORTEST);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].key().to_string(), "default/gupy");
    assert_eq!(documents[1].position.document, 2);
    assert_eq!(documents[1].position.line, 10);
    let Manifest::WebhookSubscription(spec) = &documents[1].manifest else {
        panic!("{documents:?}");
    };
    assert_eq!(spec.provider_ref.name, "gupy");
    assert_eq!(documents[1].spec_digest.len(), 64);
}

const SHARED: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: integration}
spec:
  oauth2:
    tokenUrl: https://auth.example.com/oauth/token
    clientId: {value: hr-integration}
    clientSecret: {secretKeyRef: {name: integration-client, key: secret}}
  publishTo: {secretName: integration-token}
";

fn member(name: &str) -> String {
    format!(
        "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}}}
spec:
  providerRef: {{name: gupy}}
  action: application.completed
  postbackUrl: https://integrations.example.com/gupy
  clientHeaders: [{{name: token, valueFrom: {{token: {{}}}}}}]
  tokenSourceRef: {{name: integration}}
"
    )
}

#[test]
fn a_token_source_with_six_subscriptions_is_read() {
    let mut text = SHARED.to_owned();
    for number in 1..=6 {
        text.push_str(&member(&format!("s{number}")));
    }
    let documents = all(&text);
    assert_eq!(documents.len(), 7);
    assert_eq!(documents[0].manifest.kind(), Some(Kind::TokenSource));
    assert_eq!(documents[1].spec_digest, documents[6].spec_digest);
    assert_ne!(documents[0].spec_digest, documents[1].spec_digest);
}

#[test]
fn a_provider_that_is_spelled_out_is_read() {
    let text = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: spelled-out}
spec:
  auth: {headers: [{name: X-Api-Key, valueFrom: {secretKeyRef: {name: api, key: key}}}]}
  baseUrl: https://api.example.com/
  operations:
    list:
      method: GET
      path: /api/v1/webhooks?perPage=100&page={page}
      items: /results
      pagination: {pageNumber: {totalPages: /totalPages}}
      fields: {id: /id, action: /action, postbackUrl: /postbackUrl, active: {path: /status, equals: active}}
    create:
      method: POST
      path: /api/v1/webhooks
      json: &document
        action: \"{action}\"
        status: \"{active|choose(active,inactive)}\"
        clientHeaders: \"{headers}\"
        techOwnerName: \"{parameters.techOwnerName}\"
      capture: {id: /id}
      settle: 5m
    update: {method: PUT, path: \"/api/v1/webhooks/{id}\", json: *document}
    delete: {method: DELETE, path: \"/api/v1/webhooks/{id}\", missing: [404, 410]}
  parameters: [{name: techOwnerName, required: false, description: Who is asked.}]
  postback: {allowHttp: false, publicHost: true, warnHosts: [webhook.site]}
  contentType: application/json;charset=utf-8
  limits: {requestsPerMinute: 500, maxConcurrent: 8, timeout: 10s}
  overlap: 2h
  verifyInterval: 1h
";
    let documents = all(text);
    let Manifest::WebhookProvider(spec) = &documents[0].manifest else {
        panic!();
    };
    let operations = spec.operations.as_ref().unwrap();
    let document = |operation: &Option<crate::api::Operation>| operation.clone().unwrap().json;
    assert_eq!(document(&operations.create), document(&operations.update));
}

#[test]
fn json_is_read_too() {
    let value: Value = serde_saphyr::from_str(SHARED).unwrap();
    for text in [
        value.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
        serde_json::to_string_pretty(&value).unwrap().replace("  ", "\t"),
        serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n"),
    ] {
        assert_eq!(all(&text)[0].spec_digest, all(SHARED)[0].spec_digest, "{text}");
    }
}

#[test]
fn the_digest_tells_specs_apart_and_not_spellings() {
    let digest = |text: &str| all(text)[0].spec_digest.clone();
    let base = digest(&member("a"));
    let reordered = "
kind: WebhookSubscription
apiVersion: 'hookkeeper.dev/v1alpha1'
metadata: {name: b, labels: {x: z}}
spec:
  tokenSourceRef: {name: integration}  # a comment
  postbackUrl: \"https://integrations.example.com/gupy\"
  clientHeaders:
  - valueFrom: {token: {prefix: null}}
    name: token
  parameters: {}
  action: application.completed
  providerRef: {name: gupy}
  active: null
";
    assert_eq!(digest(reordered), base);
    assert_ne!(digest(&member("a").replace(".completed", ".moved")), base);
}

#[test]
fn empty_documents_are_skipped_and_do_not_count() {
    let text =
        format!("%YAML 1.2\n---\n# nothing\n---\n\n--- # still nothing\n...\n{}---\nnull\n", member("a"));
    let documents = all(&text);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].position.document, 1);
    for nothing in ["", "\n", "---", "---\n---\n", "# x", "\u{feff}---\n", "--- # x\n"] {
        assert!(read(nothing).is_empty(), "{nothing:?}");
    }
}

#[test]
fn separators_are_found_only_at_the_start_of_a_line() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    y\n  z: '----'\n----: 1\n";
    let documents = read(text);
    assert_eq!(documents.len(), 1, "{documents:?}");
    let crlf = member("a").replace('\n', "\r\n") + &member("b").replace('\n', "\r\n");
    assert_eq!(all(&crlf).len(), 2);
}

#[test]
fn a_list_counts_as_its_items() {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for document in [SHARED.to_owned(), member("a").replace("---\n", "")] {
        for (index, line) in document.lines().enumerate() {
            text.push_str(if index == 0 { "- " } else { "  " });
            text.push_str(line);
            text.push('\n');
        }
    }
    let documents = all(&text);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].position.to_string(), "document 1 item 2");
    assert_eq!(all("{apiVersion: v1, kind: List}").len(), 0);
    assert_eq!(only_error("{apiVersion: v1, kind: List, items: 1}").problems[0].field, "items");
    only_error("{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: []}]}");
}

#[test]
fn one_bad_document_does_not_hide_the_others() {
    let bad = [
        "a: [",
        "a: b: c",
        "\t- x",
        "\"unclosed",
        "a: *nothing",
        "just text",
        "[]",
        "a: 1\na: 2",
        "a: !secret x",
        "{}",
        "a: .nan",
        "? {a: b}\n: c",
        "a: 1\n...\nb: 2",
        "apiVersion: hookkeeper.dev/v1\nkind: TokenSource\nmetadata: {name: x}\nspec: {}",
        "apiVersion: hookkeeper.dev/v1alpha1\nkind: Sub\nmetadata: {name: x}\nspec: {}",
    ];
    for bad in bad {
        let text = format!("{}---\n{bad}\n{}", member("a"), member("b"));
        let results = read(&text);
        assert_eq!(results.len(), 3, "{bad}: {results:?}");
        assert!(results[0].is_ok() && results[2].is_ok(), "{bad}");
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.position.document, 2);
        assert_eq!(error.position.line, 11);
        assert!(!error.problems.is_empty());
    }
}

#[test]
fn errors_name_document_object_and_field() {
    let text = format!("{SHARED}{}", member("a").replace("postbackUrl", "postbackURL"));
    let error = read(&text).remove(1).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.starts_with("document 2: WebhookSubscription default/a: spec.postbackUrl: is required; spec.postbackURL: is not known here; known are "),
        "{shown}"
    );
}

#[test]
fn errors_of_the_parser_name_the_line_in_the_file() {
    let text = format!("{}---\nx: 1\ny: [1,\nz: 3\n", member("a"));
    let error = read(&text).remove(1).unwrap_err();
    let line: usize = error.problems[0].field.strip_prefix("line ").unwrap().parse().unwrap();
    assert!((13..=16).contains(&line), "{error}");
    let twice = "x: 1\ny: 2\nx: 3\n";
    assert_eq!(only_error(twice).to_string(), "document 1: line 3: the same key stands twice in one mapping");
}

#[test]
fn metadata_is_checked() {
    let cases = [
        ("metadata: {name: a}", "metadata: {}", "metadata.name"),
        ("metadata: {name: a}", "metadata: {name: A}", "metadata.name"),
        ("metadata: {name: a}", "metadata: {name: 7}", "metadata.name"),
        ("metadata: {name: a}", "metadata: []", "metadata"),
        ("metadata: {name: a}", "metadat: {name: a}", "metadata"),
        ("{name: a}", "{name: a, namespace: 'x y'}", "metadata.namespace"),
        ("{name: a}", "{name: a, annotation: {}}", "metadata.annotation"),
        ("{name: a}", "{name: a, annotations: {x: 1}}", "metadata.annotations.x"),
        ("{name: a}", "{name: a, annotations: []}", "metadata.annotations"),
        ("kind: WebhookSubscription", "kind: 1", "kind"),
        ("apiVersion: hookkeeper.dev/v1alpha1", "x: y", "apiVersion"),
        ("apiVersion: hookkeeper.dev/v1alpha1", "apiVersion: hookkeeper.dev/v1", "apiVersion"),
        ("kind: WebhookSubscription", "kind: Webhook", "kind"),
        ("spec:", "sepc: {}\nspec:", "sepc"),
    ];
    for (from, to, field) in cases {
        let error = only_error(&member("a").replace(from, to));
        assert!(error.problems.iter().any(|problem| problem.field == field), "{to}: {error}");
    }
}

#[test]
fn metadata_is_handed_over() {
    let text = member("a").replace(
        "{name: a}",
        "{name: a, namespace: team, uid: 42-x, generation: 7, annotations: {hookkeeper.dev/rotate-requested-at: now}, labels: {a: b}}",
    ) + "status: {webhookId: x, anything: [1]}\n";
    let document = all(&text).remove(0);
    assert_eq!(document.key().to_string(), "team/a");
    assert_eq!(document.uid.as_deref(), Some("42-x"));
    assert_eq!(document.annotations["hookkeeper.dev/rotate-requested-at"], "now");
    assert_eq!(document.labels["a"], "b");
}

#[test]
fn secrets_are_decoded_and_never_shown() {
    let text = "\
apiVersion: v1
kind: Secret
metadata: {name: gupy-api, annotations: {hookkeeper.dev/allowed-hosts: api.gupy.io}}
data: {token: czNjcjN0LWM0bjRyeQ==, both: b2xk, binary: /w==, empty: ''}
stringData: {plain: s3cr3t-c4n4ry, both: new}
";
    let documents = all(text);
    let Manifest::Secret { namespace, name, data, annotations } = &documents[0].manifest else {
        panic!("{documents:?}");
    };
    assert_eq!((namespace.as_str(), name.as_str()), ("default", "gupy-api"));
    assert_eq!(annotations["hookkeeper.dev/allowed-hosts"], "api.gupy.io");
    let values: Vec<_> = data.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert_eq!(
        values,
        [("both", "new"), ("empty", ""), ("plain", "s3cr3t-c4n4ry"), ("token", "s3cr3t-c4n4ry")]
    );
    assert_eq!(documents[0].spec_digest, "");
    assert!(!format!("{documents:?}").contains("s3cr3t"));
}

#[test]
fn no_error_quotes_a_value() {
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";
    for body in [
        "data: {k: s3cr3t}",
        "data: s3cr3t",
        "stringData: {k: [s3cr3t]}",
        "stringData: [s3cr3t]",
        "stringData:\n  k: \"s3cr3t",
        "stringData:\n  k: s3cr3t: x",
        "stringData:\n  k: *s3cr3t",
        "stringData:\n  k: !s3cr3t x",
        "stringData:\n  k: \"s3cr3t\\q\"",
        "stringData:\n  k: s3cr3t\n k: x",
        "stringData:\n  k: !!int s3cr3t",
        "stringData:\n  k: !!binary s3cr3t%",
        "stringData:\n  k: !!bool s3cr3t",
        "stringData:\n  <<: s3cr3t",
        "stringData:\n  ? [s3cr3t]\n  : x",
    ] {
        let error = only_error(&format!("{head}{body}\n"));
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
    }
}

#[test]
fn other_kinds_pass_unread() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1}\n";
    let documents = all(text);
    assert!(matches!(&documents[0].manifest, Manifest::Other { kind, .. } if kind == "Deployment"));
    assert_eq!(documents[0].manifest.kind(), None);
}

#[test]
fn anchors_and_merge_keys_work_as_for_kubectl() {
    let text = member("a").replace(
        "clientHeaders: [{name: token, valueFrom: {token: {}}}]",
        "clientHeaders:\n  - &h {name: token, valueFrom: {token: {}}}\n  - {<<: *h, name: other}",
    );
    let documents = all(&text);
    let Manifest::WebhookSubscription(spec) = &documents[0].manifest else {
        panic!();
    };
    assert_eq!(spec.client_headers[1].name, "other");
}

#[test]
fn bombs_end_in_an_error() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let large = "x".repeat(500_000);
    let aliases = vec!["*a"; 900].join(", ");
    let bombs = [
        laughs,
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        (0..1_400).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        format!("a: &a {large}\nb: [{aliases}]\n"),
        format!("a: {}\n", "x".repeat(LARGEST_DOCUMENT)),
        "&a [*a]".to_owned(),
        format!("a: [{}]", "0,".repeat(300_000)),
        (0..2_000).map(|number| format!("k{number}: &k{number} 1\n")).collect(),
        "!".repeat(500_000),
        "\"".repeat(500_001),
        "? ".repeat(100_000),
        format!("{}:", "k".repeat(900_000)),
    ];
    for (index, bomb) in bombs.iter().enumerate() {
        let results = read(bomb);
        assert_eq!(results.len(), 1, "bomb {index}");
        let error = results[0].as_ref().unwrap_err();
        assert!(error.to_string().len() < 1000, "bomb {index}: {error}");
    }
    let storm = "---\na\n".repeat(10_000);
    assert_eq!(read(&storm).len(), 10_000);
}

mod properties {
    use proptest::prelude::*;

    use super::super::read;
    use super::{SHARED, SHORTEST};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn reading_is_total(text in any::<String>()) {
            let _ = read(&text);
        }

        #[test]
        fn reading_text_that_looks_like_yaml_is_total(
            text in "([ \t]{0,4}[-?:,\\[\\]{}#&*!|>'\"%@`a-c0-9\n]{0,8}(\n---\n)?){0,12}"
        ) {
            for result in read(&text) {
                if let Err(error) = result {
                    prop_assert!(!error.problems.is_empty());
                }
            }
        }

        #[test]
        fn reading_damaged_manifests_is_total(
            first in any::<bool>(),
            at in any::<prop::sample::Index>(),
            length in 0..12_usize,
            damage in prop_oneof![any::<String>(), "[-:{}\\[\\]\n #&*!'\"a]{0,6}"],
        ) {
            let text: Vec<char> = if first { SHORTEST } else { SHARED }.chars().collect();
            let at = at.index(text.len());
            let rest = text.iter().skip(at + length);
            let damaged: String = text[..at].iter().copied().chain(damage.chars()).chain(rest.copied()).collect();
            for result in read(&damaged) {
                if let Err(error) = result {
                    prop_assert!(!error.problems.is_empty());
                }
            }
        }
    }
}
