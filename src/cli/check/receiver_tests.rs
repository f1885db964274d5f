//! Receivers, and what others say of them.

use super::tests::{judge, judge_allowing};

const SOURCE: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: integration}
spec: {secret: {name: token, key: token}, publishTo: {secretName: published}}
---
";
const PROVIDER: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: gupy}
spec: {preset: gupy, auth: {bearer: {secretKeyRef: {name: gupy-api, key: token}}}}
---
";
const RECEIVER: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: gupy-in}
spec:
  preset: gupy
  verification: {token: {tokenSourceRef: {name: integration}}}
  forward: {service: {name: app, port: 8080}}
---
";
const SUBSCRIPTION: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: moved}
spec:
  providerRef: {name: gupy}
  action: application.moved
  postbackUrl: https://in.example.com/default/gupy-in
  clientHeaders: [{name: token, valueFrom: {token: {}}}]
  tokenSourceRef: {name: integration}
  receiverRef: {name: gupy-in}
---
";

/// What is found in the four objects, each changed or left out; without place and kind.
fn found(change: impl Fn(&str) -> String) -> Vec<String> {
    let texts = [PROVIDER, SOURCE, RECEIVER, SUBSCRIPTION].map(change);
    let names = ["p.yaml", "s.yaml", "r.yaml", "w.yaml"];
    let files: Vec<(&str, &str)> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
    let lines = judge(&files).lines;
    lines.into_iter().map(|line| line.split_once(": document 1: ").unwrap().1.to_owned()).collect()
}

/// Replaces a text that has to be there in one of the objects.
fn with<'a>(from: &'a str, to: &'a str) -> impl Fn(&str) -> String + 'a {
    assert!([PROVIDER, SOURCE, RECEIVER, SUBSCRIPTION].iter().any(|text| text.contains(from)), "{from}");
    move |text| text.replace(from, to)
}

#[test]
fn a_circle_that_is_closed_is_fine() {
    assert_eq!(found(str::to_owned), Vec::<String>::new());
}

#[test]
fn what_is_not_among_the_files_is_a_doubt() {
    let only = |text: &'static str| judge(&[("a.yaml", text)]);
    let receiver = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: in}
spec:
  verification: {token: {header: token, tokenSourceRef: {name: integration}}}
  forward: {url: 'https://app.example.com'}
";
    let findings = only(receiver);
    assert_eq!((findings.problems, findings.warnings), (0, 1), "{findings:?}");
    assert!(findings.lines[0].ends_with(
        "warning: spec.verification.token.tokenSourceRef.name: there is no TokenSource default/integration in the given files"
    ));
    let findings = only(SUBSCRIPTION);
    assert_eq!((findings.problems, findings.warnings), (0, 3), "{findings:?}");
}

#[test]
fn a_source_that_publishes_nothing_is_a_doubt() {
    assert_eq!(
        found(with(", publishTo: {secretName: published}", "")),
        [
            "WebhookReceiver default/gupy-in: warning: spec.verification.token.tokenSourceRef.name: TokenSource default/integration publishes no tokens, so that only a gate in the process that rotates gets them (sidecar --gate-listen); for any other gate, give it publishTo"
        ]
    );
}

#[test]
fn a_receiver_of_another_source_is_a_problem_and_so_is_one_without() {
    let other = found(with("tokenSourceRef: {name: integration}}}", "tokenSourceRef: {name: other}}}"));
    assert_eq!(
        other,
        [
            "WebhookSubscription default/moved: spec.receiverRef.name: WebhookReceiver default/gupy-in accepts the tokens of TokenSource other, and this subscription sends those of integration; name the same source in both",
            "WebhookReceiver default/gupy-in: warning: spec.verification.token.tokenSourceRef.name: there is no TokenSource default/other in the given files",
        ]
    );
    let none = found(with(
        "{token: {tokenSourceRef: {name: integration}}}",
        "{basic: {secretKeyRefs: [{name: a, key: b}]}}",
    ));
    assert_eq!(
        none,
        [
            "WebhookSubscription default/moved: spec.receiverRef.name: WebhookReceiver default/gupy-in accepts no tokens of a TokenSource; set its verification.token.tokenSourceRef to integration"
        ]
    );
}

#[test]
fn a_receiver_that_is_not_there_although_others_are_is_told_of() {
    assert_eq!(
        found(with("receiverRef: {name: gupy-in}", "receiverRef: {name: gupy-out}")),
        [
            "WebhookSubscription default/moved: warning: spec.receiverRef.name: there is no WebhookReceiver default/gupy-out in the given files",
            "WebhookReceiver default/gupy-in: spec.verification.token.header: is required: name the header in which the platform sends the token, as the subscription's clientHeaders do, or let the subscription name this receiver with receiverRef",
        ]
    );
}

#[test]
fn deliveries_that_go_somewhere_else_are_a_doubt() {
    for (url, is_fine) in [
        ("https://in.example.com/default/gupy-in?x=1", true),
        ("https://in.example.com/hooks/default/gupy-in", true),
        ("https://in.example.com/default/gupy-in/", false),
        ("https://in.example.com/default/gupy", false),
        ("https://in.example.com/", false),
        ("https://in.example.com/?x=/default/gupy-in", false),
    ] {
        let lines = found(with("https://in.example.com/default/gupy-in", url));
        assert_eq!(lines.is_empty(), is_fine, "{url}: {lines:?}");
        for line in lines {
            assert!(
                line.contains("warning: spec.postbackUrl: its path does not end with /default/gupy-in"),
                "{line}"
            );
        }
    }
}

#[test]
fn the_header_of_the_subscription_counts_and_there_is_one() {
    let same = with("{token: {tokenSourceRef", "{token: {header: Token, tokenSourceRef");
    assert_eq!(found(same), Vec::<String>::new());
    let other = found(with("{token: {tokenSourceRef", "{token: {header: authorization, tokenSourceRef"));
    assert_eq!(other.len(), 1, "{other:?}");
    assert!(
        other[0]
            .contains("warning: spec.receiverRef.name: WebhookReceiver default/gupy-in names another header")
    );
    let second =
        SUBSCRIPTION.replace("name: moved", "name: hired").replace("token: {}", "token: {prefix: 'Bearer '}");
    let findings = judge(&[
        ("a.yaml", PROVIDER),
        ("b.yaml", SOURCE),
        ("c.yaml", RECEIVER),
        ("d.yaml", SUBSCRIPTION),
        ("e.yaml", &second),
    ]);
    assert_eq!(findings.lines.len(), 1, "{findings:?}");
    assert!(findings.lines[0].contains(
        "hired: spec.clientHeaders: WebhookSubscription default/moved of the same receiver sends its token in another header"
    ));
}

fn receiver(namespace: &str, name: &str, path: &str) -> String {
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1\nkind: WebhookReceiver\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec:\n  preset: qualp\n  path: {path}\n  verification: {{hmac: {{secretKeyRefs: [{{name: a, key: b}}]}}}}\n  forward: {{url: 'https://app.example.com'}}\n"
    )
}

#[test]
fn two_receivers_with_one_path_are_a_problem() {
    let findings =
        judge(&[("a.yaml", &receiver("hr", "a", "/hr/b")), ("b.yaml", &receiver("hr", "b", "null"))]);
    assert_eq!(
        findings.lines,
        [
            "b.yaml: document 1: WebhookReceiver hr/b: spec.path: WebhookReceiver hr/a has the path /hr/b too; the older one of the two has it, and the other one is refused with Conflict: give each a path of its own"
        ]
    );
}

#[test]
fn a_path_of_another_namespace_is_a_problem_unless_it_is_allowed() {
    let text = receiver("hr", "a", "/hooks/qualp");
    let findings = judge(&[("a.yaml", &text)]);
    assert_eq!((findings.problems, findings.warnings), (1, 0), "{findings:?}");
    assert!(findings.lines[0].contains("spec.path: must begin with /hr/"), "{findings:?}");
    assert_eq!(judge_allowing(&[("a.yaml", &text)], &["hr=/hooks"]).lines, Vec::<String>::new());
    assert_eq!(judge_allowing(&[("a.yaml", &text)], &["finance=/hooks"]).problems, 1);
}

#[test]
fn a_preset_that_is_not_known_is_a_problem() {
    let text = receiver("hr", "a", "/hr/a").replace("qualp", "qualq");
    assert_eq!(
        judge(&[("a.yaml", &text)]).lines,
        [
            "a.yaml: document 1: WebhookReceiver hr/a: spec.preset: there is no preset \"qualq\"; known are: gupy, idunico, pulpo, qualp, standardWebhooks"
        ]
    );
}

#[test]
fn what_verifies_nothing_is_told_of() {
    let text =
        receiver("hr", "a", "/hr/a").replace("{hmac: {secretKeyRefs: [{name: a, key: b}]}}", "{none: {}}");
    let findings = judge(&[("a.yaml", &text)]);
    assert_eq!((findings.problems, findings.warnings), (0, 1), "{findings:?}");
    let confined = text.replace("  preset", "  sourceRanges: [203.0.113.0/24]\n  preset");
    assert_eq!(judge(&[("a.yaml", &confined)]).lines, Vec::<String>::new());
}

#[test]
fn a_fallback_asks_with_tokens_that_may_go_there() {
    let text = |source: &str| {
        format!(
            "{}  fallback: {{secretKeyRefs: [{{name: a, key: b}}], until: ['3'], request: {{url: 'https://api.id.unico.app/processes/v1/{{id}}', tokenSourceRef: {{name: unico}}}}}}\n---\napiVersion: hookkeeper.dev/v1alpha1\nkind: TokenSource\nmetadata: {{namespace: hr, name: unico}}\nspec: {source}\n",
            receiver("hr", "a", "/hr/a")
        )
    };
    let secret = "secret: {name: token, key: token}";
    let found = |source: &str| judge(&[("a.yaml", &text(source))]).lines;
    let fine = format!("{{{secret}, publishTo: {{secretName: p}}, allowedHosts: [API.id.unico.app]}}");
    assert_eq!(found(&fine), Vec::<String>::new());
    let nothing = found(&format!("{{{secret}}}"));
    assert_eq!(nothing.len(), 2, "{nothing:?}");
    assert!(
        nothing[0]
            .contains("spec.fallback.request.tokenSourceRef.name: TokenSource hr/unico publishes no tokens")
    );
    let elsewhere =
        found(&format!("{{{secret}, publishTo: {{secretName: p}}, allowedHosts: [auth.example.com]}}"));
    assert_eq!(elsewhere.len(), 1, "{elsewhere:?}");
    assert!(elsewhere[0].contains("may not be sent to api.id.unico.app"), "{elsewhere:?}");
}

#[test]
fn tokens_that_are_published_for_gates_alone_need_a_receiver() {
    let gates = |text: &str| text.replace("secretName: published}", "secretName: published, readers: Gates}");
    assert_eq!(found(gates), Vec::<String>::new());
    let texts = [PROVIDER, SOURCE].map(gates);
    let lines = judge(&[("p.yaml", &texts[0]), ("s.yaml", &texts[1])]).lines;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("spec.publishTo.readers: Gates"), "{lines:?}");
}
