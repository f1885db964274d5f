use std::fs;

use super::*;

const SOURCE: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: integration}
spec: {secret: {name: token, key: token}}
";
const PROVIDER: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: gupy}
spec: {preset: nobody, auth: {none: {}}}
";
const SUBSCRIPTION: &str = "\
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: moved}
spec:
  providerRef: {name: gupy}
  action: application.moved
  postbackUrl: https://integrations.example.com/gupy
  clientHeaders: [{name: token, valueFrom: {token: {}}}]
  tokenSourceRef: {name: integration}
";

pub(super) fn judge(files: &[(&str, &str)]) -> Findings {
    judge_allowing(files, &[])
}

pub(super) fn judge_allowing(files: &[(&str, &str)], allowed: &[&str]) -> Findings {
    let allowed: Vec<_> = allowed.iter().map(|entry| entry.parse().unwrap()).collect();
    let inputs: Vec<input::Input> = files
        .iter()
        .map(|(file, text)| input::Input { file: (*file).to_owned(), text: Ok((*text).to_owned()) })
        .collect();
    judge::judge(&inputs, &allowed)
}

#[test]
fn a_reference_to_nothing_is_a_warning() {
    let findings = judge(&[("a.yaml", SUBSCRIPTION)]);
    assert_eq!(findings.problems, 0);
    assert_eq!(
        findings.lines,
        [
            "a.yaml: document 1: WebhookSubscription default/moved: warning: spec.providerRef.name: there is no WebhookProvider default/gupy in the given files",
            "a.yaml: document 1: WebhookSubscription default/moved: warning: spec.tokenSourceRef.name: there is no TokenSource default/integration in the given files",
        ]
    );
}

#[test]
fn secrets_that_are_one_variable_to_the_sidecar_are_a_warning() {
    let source = |name: &str, secret: &str, key: &str| {
        SOURCE.replace("name: integration", &format!("name: {name}")).replace(
            "{secret: {name: token, key: token}}",
            &format!("{{secret: {{name: {secret}, key: {key}}}}}"),
        )
    };
    let findings = judge(&[
        ("a.yaml", &source("a", "gupy-api", "token")),
        ("b.yaml", &source("b", "gupy", "api-token")),
    ]);
    assert_eq!(
        findings.lines,
        [
            "a.yaml: document 1: TokenSource default/a: warning: key api-token of Secret gupy and key token of Secret \
          gupy-api are both the variable HOOKKEEPER_SECRET_GUPY_API_TOKEN; rename one of them, or give both as files \
          SECRET/KEY below --secrets-dir; in a cluster they are apart, the sidecar does not start"
        ]
    );
    let apart =
        judge(&[("a.yaml", &source("a", "gupy-api", "token")), ("b.yaml", &source("b", "gupy", "token"))]);
    assert_eq!(apart.lines, Vec::<String>::new());
}

#[test]
fn references_are_found_across_files_but_not_across_namespaces() {
    let findings = judge(&[("a.yaml", SUBSCRIPTION), ("b.yaml", SOURCE)]);
    assert_eq!(findings.warnings, 1, "{findings:?}");
    let elsewhere = SOURCE.replace("{name: i", "{namespace: other, name: i");
    let findings = judge(&[("a.yaml", SUBSCRIPTION), ("b.yaml", &elsewhere)]);
    assert_eq!(findings.warnings, 2, "{findings:?}");
}

#[test]
fn a_broken_object_is_reported_once_and_still_counts_as_there() {
    let broken = SOURCE.replace("key: token", "kye: token");
    let findings = judge(&[("a.yaml", SUBSCRIPTION), ("b.yaml", &broken)]);
    assert_eq!((findings.problems, findings.warnings), (2, 1), "{findings:?}");
    assert!(
        findings.lines[0].starts_with("b.yaml: document 1: TokenSource default/integration: spec.secret.k"),
        "{findings:?}"
    );
}

#[test]
fn a_provider_that_cannot_be_resolved_is_a_problem() {
    let findings = judge(&[("a.yaml", PROVIDER)]);
    assert_eq!(
        findings.lines,
        [
            "a.yaml: document 1: WebhookProvider default/gupy: spec.preset: there is no preset \"nobody\"; known are: gupy"
        ]
    );
}

#[test]
fn an_object_that_is_declared_twice_is_a_problem() {
    let findings = judge(&[("a.yaml", SOURCE), ("b.yaml", &format!("---\n---\n{SOURCE}"))]);
    assert_eq!(
        findings.lines,
        [
            "b.yaml: document 1: TokenSource default/integration: is declared a second time, first in a.yaml document 1"
        ]
    );
    assert_eq!(findings.documents, 2);
}

#[test]
fn the_summary_counts() {
    let findings = judge(&[("a.yaml", &format!("{SUBSCRIPTION}---\nx: [\n"))]);
    let mut output = Vec::new();
    print(&findings, &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(output.ends_with("2 documents checked, 1 problem, 2 warnings\n"), "{output}");
}

#[test]
fn the_first_problems_of_each_file_are_listed_and_the_others_counted() {
    let files: Vec<(String, String)> =
        (0..20).map(|number| (format!("{number:02}.yaml"), "---\na\n".repeat(100))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let findings = judge(&files);
    let each = findings.problems / 20;
    assert_eq!((findings.documents, findings.problems, each % 100), (2_000, 20 * each, 0));
    let of_file = |name: &str| findings.lines.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!((of_file("00.yaml"), of_file("07.yaml"), of_file("08.yaml")), (32, 32, 0));
    let mut output = Vec::new();
    print(&findings, &mut output).unwrap();
    let output = String::from_utf8(output).unwrap();
    let left = findings.problems - 256;
    let end = format!(
        "not listed: {left} problems, 0 warnings\n2000 documents checked, {} problems, 0 warnings\n",
        findings.problems
    );
    assert!(output.ends_with(&end), "{output}");
    assert_eq!(output.lines().count(), 258);
}

#[test]
fn a_flood_of_documents_is_one_problem() {
    let findings = judge(&[("a.yaml", &"a\n---\n".repeat(8 * 1024 * 1024 / 6)), ("b.yaml", SOURCE)]);
    assert_eq!(
        findings.lines,
        ["a.yaml: document 1: there are more than 20000 documents in the file, so none of them is read"]
    );
    // Several files have no more than one may.
    let half = "---\n".to_owned() + SOURCE;
    let half = half.repeat(10_001);
    let findings = judge(&[("a.yaml", &half), ("b.yaml", &half)]);
    let said = findings.lines.iter().filter(|line| line.starts_with("b.yaml: with it there are more than"));
    assert_eq!((said.count(), findings.documents), (1, 10_001));
}

/// The text as YAML writes it, where nothing of it may stand as it is.
fn quoted(text: &str) -> String {
    printable(&serde_json::to_string(text).unwrap()).into_owned()
}

/// Foreign text reaches a person's terminal as text, whatever it is written in.
#[test]
fn no_text_of_a_manifest_acts_on_a_terminal_or_makes_a_line_of_its_own() {
    let hostile = "x\u{1b}[2J\u{9b}2J\nok.yaml: everything is well\u{202e}\u{2028}\u{7f}";
    let quoted = quoted(hostile);
    let source = |spec: &str| SOURCE.replace("secret: {name: token, key: token}", spec);
    let texts = [
        source(&format!(
            "http: {{url: 'https://auth.example.com/', response: {{tokenPath: {}}}}}",
            self::quoted(&format!("/{hostile}"))
        )),
        source(&format!("{quoted}: x")),
        SOURCE.replace("{name: integration}", &format!("{{name: {quoted}}}")),
        SOURCE.replace("{name: integration}", &format!("{{name: a, {quoted}: x}}")),
        SOURCE.replace("kind: TokenSource", &format!("kind: {quoted}")),
        PROVIDER.replace("preset: nobody", &format!("preset: {quoted}")),
        SUBSCRIPTION.replace("action: application.moved", &format!("action: {quoted}")),
        SUBSCRIPTION.replace("{name: gupy}", &format!("{{name: {quoted}}}")),
        SUBSCRIPTION.replace("name: token,", &format!("name: {quoted},")),
        SUBSCRIPTION.replace("spec:\n", &format!("spec:\n  parameters: {{{quoted}: x}}\n")),
        SUBSCRIPTION.replace("https://integrations.example.com/gupy", hostile),
        hostile.to_owned(),
    ];
    let gupy = PROVIDER.replace("nobody", "gupy");
    for (file, text) in texts.iter().map(|text| ("a.yaml", text)).chain([(hostile, &texts[0])]) {
        let findings = judge(&[(file, text), ("p.yaml", &gupy)]);
        let mut output = Vec::new();
        print(&findings, &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        assert!(findings.problems > 0, "{text}: {output}");
        let active = output.chars().find(|letter| *letter != '\n' && crate::printable::is_active(*letter));
        assert_eq!(active, None, "{text:?}: {output:?}");
        assert!(!output.lines().any(|line| line.starts_with("ok.yaml")), "{text:?}: {output}");
    }
}

/// Where a pointer is read it is refused, not only shown as text.
#[test]
fn control_characters_in_pointers_and_paths_are_refused() {
    for character in
        ["\n", "\t", "\u{1b}", "\u{7f}", "\u{9b}", "\u{2028}", "\u{202e}", "\u{2066}", "\u{200f}"]
    {
        let pointer = quoted(&format!("/a{character}b"));
        let source = SOURCE.replace(
            "secret: {name: token, key: token}",
            &format!("http: {{url: 'https://auth.example.com/', response: {{tokenPath: {pointer}}}}}"),
        );
        let findings = judge(&[("a.yaml", &source)]);
        assert_eq!(findings.problems, 1, "{findings:?}");
        assert!(
            findings.lines[0].contains(
                "response.tokenPath: must be a JSON Pointer such as `/data/token`, without control characters"
            ),
            "{findings:?}"
        );
        let provider = PROVIDER.replace(
            "preset: nobody, auth: {none: {}}",
            &format!(
                "baseUrl: 'https://api.example.com', auth: {{none: {{}}}}, operations: {{update: {{method: PUT, path: {pointer}, json: {{t: '{{token}}'}}}}}}"
            ),
        );
        let findings = judge(&[("a.yaml", &provider)]);
        assert!(
            findings.lines[0].contains("spec.operations.update.path: must begin with `/`"),
            "{findings:?}"
        );
    }
}

#[test]
fn folders_are_read_in_order_and_unreadable_files_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("b.yml", SOURCE.as_bytes());
    write("a.yaml", SUBSCRIPTION.as_bytes());
    write("c.json", b"\xff");
    write("notes.txt", b"x: [");
    write(".hidden.yaml", b"x: [");
    fs::create_dir(folder.path().join("d.yaml")).unwrap();
    let empty = folder.path().join("d.yaml");
    let missing = folder.path().join("missing.yaml");
    let inputs = input::read(&[folder.path().to_owned(), empty, missing]);
    let names: Vec<&str> = inputs.iter().map(|input| input.file.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["a.yaml", "b.yml", "c.json", "d.yaml", "missing.yaml"]);
    let findings = judge::judge(&inputs, &[]);
    assert_eq!((findings.problems, findings.documents), (3, 2), "{findings:?}");
}

#[test]
fn the_exit_code_tells_whether_there_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let code = |text: &str| {
        fs::write(&file, text).unwrap();
        let args = CheckArgs { files: vec![file.clone()], allow_path: Vec::new() };
        format!("{:?}", run(&args).unwrap())
    };
    assert_eq!(code(SUBSCRIPTION), format!("{:?}", ExitCode::SUCCESS));
    assert_eq!(code(PROVIDER), format!("{:?}", ExitCode::FAILURE));
}

#[test]
fn the_providers_rules_are_applied_and_name_file_object_and_field() {
    let gupy = PROVIDER.replace("nobody", "gupy");
    let lines = |subscription: &str| {
        let findings = judge(&[("p.yaml", &gupy), ("s.yaml", subscription), ("t.yaml", SOURCE)]);
        assert_eq!(findings.documents, 3);
        findings.lines
    };
    assert_eq!(lines(SUBSCRIPTION), Vec::<String>::new());
    let url = "https://integrations.example.com/gupy";
    for (written, instead, expected) in [
        (
            "spec:\n",
            "spec:\n  parameters: {techOwner: Ana}\n",
            "spec.parameters.techOwner: the provider has no such parameter; known are: ",
        ),
        ("  action: application.moved\n", "", "spec.action: the provider's document needs an action"),
        (url, "http://integrations.example.com/gupy", "spec.postbackUrl: the provider takes https only;"),
        (url, "https://10.0.0.7/gupy", "spec.postbackUrl: the provider reaches public DNS names only"),
        (url, "https://webhook.site/x", "warning: spec.postbackUrl: the URL leads to webhook.site,"),
    ] {
        let found = lines(&SUBSCRIPTION.replace(written, instead));
        let expected = format!("s.yaml: document 1: WebhookSubscription default/moved: {expected}");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&expected), "{found:?}");
    }
}

#[test]
fn a_provider_of_another_namespace_has_no_say() {
    let gupy = PROVIDER.replace("nobody", "gupy").replace("{name: g", "{namespace: other, name: g");
    let catcher = SUBSCRIPTION.replace("integrations.example.com", "webhook.site");
    let findings = judge(&[("a.yaml", &format!("{gupy}---\n{catcher}---\n{SOURCE}"))]);
    assert_eq!(
        findings.lines,
        [
            "a.yaml: document 2: WebhookSubscription default/moved: warning: spec.providerRef.name: there is no WebhookProvider default/gupy in the given files"
        ]
    );
}

/// Some platforms fill templates in themselves.
#[test]
fn a_header_that_looks_like_a_template_is_refused_and_the_ways_out_are_named() {
    let text = SUBSCRIPTION.replace("[{", "[{name: event, value: '{{event.id}}'}, {");
    let findings = judge(&[("a.yaml", &text), ("b.yaml", SOURCE)]);
    assert_eq!(findings.problems, 1, "{findings:?}");
    let line = findings.lines.iter().find(|line| line.contains("spec.clientHeaders[0].value")).unwrap();
    for way in
        ["valueFrom: {token: {prefix", "put the whole value into a Secret", "valueFrom: {secretKeyRef:"]
    {
        assert!(line.contains(way), "{line}");
    }
}

/// What is refused at run time for its form is found here, and the message says what to do.
#[test]
fn what_could_never_be_sent_is_a_problem() {
    let oauth2 = "oauth2: {tokenUrl: 'https://auth.example.com/', clientId: {value: a}, \
                  clientSecret: {secretKeyRef: {name: a, key: b}}";
    let source = |spec: &str| SOURCE.replace("secret: {name: token, key: token}", spec);
    let provider = |auth: &str| PROVIDER.replace("preset: nobody, auth: {none: {}}", auth);
    let own_header = "hookkeeper sets this header itself";
    for (text, field, advice) in [
        (
            source(&format!("{oauth2}, extraParameters: {{grant_type: account_credentials}}}}")),
            "spec.oauth2.extraParameters.grant_type",
            "is always client_credentials here; for another grant describe the source as http",
        ),
        (
            source(&format!("{oauth2}, scopes: [a], extraParameters: {{scope: a}}}}")),
            "spec.oauth2.extraParameters.scope",
            "is sent already, made of oauth2.scopes",
        ),
        (
            source(&format!("{oauth2}, audience: a, extraParameters: {{audience: a}}}}")),
            "spec.oauth2.extraParameters.audience",
            "is sent already, from oauth2.audience",
        ),
        (
            source(&format!("{oauth2}, clientAuthentication: Post, extraParameters: {{client_id: a}}}}")),
            "spec.oauth2.extraParameters.client_id",
            "is sent already, because oauth2.clientAuthentication is Post",
        ),
        (
            source("http: {url: 'https://auth.example.com/', headers: [{name: content-length, value: '0'}]}"),
            "spec.http.headers[0].name",
            own_header,
        ),
        (
            source("http: {url: 'https://auth..example.com/'}"),
            "spec.http.url",
            "must be an absolute http or https URL",
        ),
        (
            provider("preset: gupy, auth: {headers: [{name: Host, value: a}]}"),
            "spec.auth.headers[0].name",
            own_header,
        ),
        (
            provider(
                "baseUrl: 'https://api.example.com', auth: {none: {}}, operations: {update: {method: PUT, path: '/{id}', \
                 headers: {Transfer-Encoding: chunked}, json: {t: '{token}'}}}",
            ),
            "spec.operations.update.headers.Transfer-Encoding",
            own_header,
        ),
    ] {
        let findings = judge(&[("a.yaml", &text)]);
        assert_eq!(findings.lines.len(), 1, "{findings:?}");
        let expected = format!("{field}: {advice}");
        assert!(findings.lines[0].contains(&expected), "{expected}: {findings:?}");
    }
}

#[test]
fn a_parameter_that_leads_to_another_path_or_breaks_a_header_is_a_problem() {
    let provider = PROVIDER.replace(
        "preset: nobody, auth: {none: {}}",
        "baseUrl: 'https://api.example.com', auth: {none: {}}, parameters: [{name: owner}], operations: {update: \
         {method: PUT, path: '/{parameters.owner}/{id}', headers: {X-Owner: '{parameters.owner}'}, json: {t: '{token}'}}}",
    );
    for owner in ["'..'", "'.'", "\"a\\nb\""] {
        let subscription =
            SUBSCRIPTION.replace("spec:\n", &format!("spec:\n  parameters: {{owner: {owner}}}\n"));
        let findings = judge(&[("p.yaml", &provider), ("s.yaml", &subscription), ("t.yaml", SOURCE)]);
        assert_eq!(findings.problems, 1, "{findings:?}");
        assert!(findings.lines[0].contains(": spec.parameters.owner: "), "{findings:?}");
    }
}
