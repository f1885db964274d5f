//! The admission policy on a real API server: whoever may not read a Secret cannot name it either.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::{Ended, in_repository};

/// May write objects in both namespaces, and get the Secret `granted` in both. All that may be done with
/// objects would include to use them.
const AUTHOR: &str = "--as=author";
/// May write objects, and nothing else.
const ANNOTATOR: &str = "--as=annotator";
const OPERATOR: &str = "--as=system:serviceaccount:hookkeeper-system:hookkeeper";
/// Here the author has all rights that the objects ask for, in the other one none of them.
const WITH_RIGHTS: &str = "with-rights";
const WITHOUT_RIGHTS: &str = "without-rights";
const PATIENCE: Duration = Duration::from_secs(60);

/// Roles name what they grant: the policy asks for the very Secret.
const RIGHTS: &str = r#"
{kind: Role, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: named, namespace: with-rights}, rules: [
  {apiGroups: [""], resources: [secrets], resourceNames: [named], verbs: [get]},
  {apiGroups: [""], resources: [secrets], resourceNames: [written], verbs: [create]},
  {apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [sender], verbs: [create]},
  {apiGroups: [hookkeeper.dev], resources: [tokensources], resourceNames: [integration], verbs: [use]}]}
---
{kind: RoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: named, namespace: with-rights},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: named},
 subjects: [{kind: User, name: author}]}
---
{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: granted}, rules: [
  {apiGroups: [""], resources: [secrets], resourceNames: [granted], verbs: [get]},
  {apiGroups: [""], resources: [configmaps], verbs: [create]}]}
---
{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: granted},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: granted},
 subjects: [{kind: User, name: author}]}
---
{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: objects}, rules: [
  {apiGroups: [hookkeeper.dev], resources: ["*"], verbs: [get, list, create, update, patch, delete]}]}
---
{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: objects},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: objects},
 subjects: [{kind: User, name: author}, {kind: User, name: annotator}, {kind: User, name: reader}]}
---
{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: kubectl-reads-first}, rules: [
  {apiGroups: [hookkeeper.dev], resources: [webhooksubscriptions, webhooksubscriptions/status], verbs: [get]}]}
---
{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: kubectl-reads-first},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kubectl-reads-first},
 subjects: [{kind: ServiceAccount, name: hookkeeper, namespace: hookkeeper-system}]}
---
{kind: ClusterRole, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: all-secrets}, rules: [
  {apiGroups: [""], resources: [secrets], verbs: [get]}]}
---
{kind: ClusterRoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {name: all-secrets},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all-secrets},
 subjects: [{kind: User, name: reader}]}
"#;

/// A cluster of its own, because the policy concerns everybody in it.
pub(super) fn cluster() -> &'static Cluster {
    static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
        let cluster = Cluster::start(&[]);
        cluster.install_definitions();
        for namespace in [WITH_RIGHTS, WITHOUT_RIGHTS, "hookkeeper-system"] {
            cluster.succeed(&["create", "namespace", namespace]);
        }
        let folder = tempfile::tempdir().unwrap();
        let rights = folder.path().join("rights.yaml");
        fs::write(&rights, RIGHTS).unwrap();
        let operator = in_repository("deploy/base/rbac.yaml");
        cluster.succeed(&["apply", "-f", rights.to_str().unwrap(), "-f", operator.to_str().unwrap()]);
        let policy = fs::read_to_string(in_repository("deploy/admission-policy/policy.yaml")).unwrap();
        // As the chart fills in what it is told (`gate.allowPaths`).
        let paths = "expression: \"['with-rights=/hooks', 'without-rights=/open/']\"";
        assert_eq!(policy.matches("expression: \"[]\"").count(), 1);
        let file = folder.path().join("policy.yaml");
        fs::write(&file, policy.replace("expression: \"[]\"", paths)).unwrap();
        let applied = cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
        assert_eq!((applied.code, applied.stderr.as_str()), (Some(0), ""));
        // The server enforces a policy some moments after it has stored it.
        let end = Instant::now() + PATIENCE;
        while offered(&cluster, AUTHOR, WITHOUT_RIGHTS, &[provider()]).code == Some(0) {
            assert!(Instant::now() < end, "the policy is not enforced");
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster
    });
    &CLUSTER
}

/// A place where a name stands, and a valid spec that has one there.
type Place = (&'static str, String, Value);

fn secret(name: &str) -> Value {
    json!({"secretKeyRef": {"name": name, "key": "k"}})
}

fn from_secret() -> Value {
    json!({"valueFrom": secret("named")})
}

fn header() -> Value {
    json!({"name": "X-Key", "valueFrom": secret("named")})
}

fn subscription(source: Value) -> Value {
    json!({
        "providerRef": {"name": "gupy"},
        "action": "application.completed",
        "postbackUrl": "https://integrations.example.com/gupy",
        "clientHeaders": [{"name": "token", "valueFrom": {"token": {}}}],
        "tokenSource": source,
    })
}

/// Where a token source names something, as an object of its own and in a subscription.
fn source_places() -> Vec<(&'static str, Value)> {
    let oauth2 = |client_id: Value, client_secret: &str| {
        let url = "https://auth.example.com/oauth/token";
        json!({"oauth2": {"tokenUrl": url, "clientId": client_id, "clientSecret": secret(client_secret)}})
    };
    let http = |field: &str, value: Value| json!({"http": {"url": "https://auth.example.com", "method": "POST", field: value}});
    let body = json!({"contentType": "text/plain", "valueFrom": secret("named")});
    vec![
        ("oauth2.clientId.valueFrom.secretKeyRef.name", oauth2(from_secret(), "granted")),
        ("oauth2.clientSecret.secretKeyRef.name", oauth2(json!({"value": "id"}), "named")),
        ("http.headers[].valueFrom.secretKeyRef.name", http("headers", json!([header()]))),
        ("http.query[].valueFrom.secretKeyRef.name", http("query", json!([header()]))),
        ("http.form[].valueFrom.secretKeyRef.name", http("form", json!([header()]))),
        ("http.json[].valueFrom.secretKeyRef.name", http("json", json!([header()]))),
        ("http.body.valueFrom.secretKeyRef.name", http("body", body)),
        ("secret.name", json!({"secret": {"name": "named", "key": "token"}})),
        ("serviceAccount.name", json!({"serviceAccount": {"name": "sender", "audiences": ["receiver"]}})),
    ]
}

/// A receiver that proves deliveries so.
fn receiver(verification: &Value) -> Value {
    json!({"verification": verification, "forward": {"service": {"name": "billing", "port": 8080}}})
}

/// Where a receiver names something.
fn receiver_places() -> Vec<(&'static str, Value)> {
    let keys = json!([{"name": "named", "key": "k"}]);
    let granted = json!({"apiKey": {"secretKeyRefs": [{"name": "granted", "key": "k"}]}});
    let by_source = json!({"header": "token", "tokenSourceRef": {"name": "integration"}});
    let asking = |field: &str, value: Value| {
        let mut receiver = receiver(&granted);
        let request = json!({"url": "https://api.example.com/processes/{id}"});
        let own = json!([{"name": "granted", "key": "k"}]);
        receiver["fallback"] = json!({"secretKeyRefs": own, "request": request, "until": ["2"]});
        let (place, name) = field.rsplit_once('/').unwrap();
        receiver["fallback"].pointer_mut(place).unwrap()[name] = value;
        receiver
    };
    vec![
        (
            "verification.token.secretKeyRefs[].name",
            receiver(&json!({"token": {"header": "token", "secretKeyRefs": keys}})),
        ),
        ("verification.token.tokenSourceRef.name", receiver(&json!({ "token": by_source }))),
        ("verification.apiKey.secretKeyRefs[].name", receiver(&json!({"apiKey": {"secretKeyRefs": keys}}))),
        ("verification.basic.secretKeyRefs[].name", receiver(&json!({"basic": {"secretKeyRefs": keys}}))),
        (
            "verification.hmac.secretKeyRefs[].name",
            receiver(&json!({"hmac": {"header": "signature", "secretKeyRefs": keys}})),
        ),
        (
            "verification.standardWebhooks.secretKeyRefs[].name",
            receiver(&json!({"standardWebhooks": {"secretKeyRefs": keys}})),
        ),
        ("fallback.secretKeyRefs[].name", asking("/secretKeyRefs", keys.clone())),
        (
            "fallback.request.headers[].valueFrom.secretKeyRef.name",
            asking("/request/headers", json!([header()])),
        ),
        (
            "fallback.request.tokenSourceRef.name",
            asking("/request/tokenSourceRef", json!({"name": "integration"})),
        ),
    ]
}

fn places() -> Vec<Place> {
    let auth = |auth: Value| json!({"preset": "gupy", "auth": auth});
    let basic = |username: Value, password: &str| {
        auth(json!({"basic": {"username": username, "password": secret(password)}}))
    };
    let mut places: Vec<Place> = Vec::new();
    let mut place = |kind, path: &str, spec| places.push((kind, format!("spec.{path}"), spec));
    place("WebhookProvider", "auth.bearer.secretKeyRef.name", auth(json!({"bearer": secret("named")})));
    place(
        "WebhookProvider",
        "auth.basic.username.valueFrom.secretKeyRef.name",
        basic(from_secret(), "granted"),
    );
    place("WebhookProvider", "auth.basic.password.secretKeyRef.name", basic(json!({"value": "u"}), "named"));
    place(
        "WebhookProvider",
        "auth.headers[].valueFrom.secretKeyRef.name",
        auth(json!({"headers": [header()]})),
    );
    for (path, source) in source_places() {
        place("TokenSource", path, source.clone());
        place("WebhookSubscription", &format!("tokenSource.{path}"), subscription(source));
    }
    for (path, spec) in receiver_places() {
        place("WebhookReceiver", path, spec);
    }
    let mut published = json!({"secret": {"name": "granted", "key": "token"}});
    published["publishTo"] = json!({"secretName": "written"});
    place("TokenSource", "publishTo.secretName", published);
    let mut with_header = subscription(json!({"secret": {"name": "granted", "key": "token"}}));
    with_header["clientHeaders"].as_array_mut().unwrap().push(header());
    place("WebhookSubscription", "clientHeaders[].valueFrom.secretKeyRef.name", with_header);
    let mut by_name = subscription(json!({}));
    by_name.as_object_mut().unwrap().remove("tokenSource");
    by_name["tokenSourceRef"] = json!({"name": "integration"});
    place("WebhookSubscription", "tokenSourceRef.name", by_name);
    places
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "hookkeeper.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn provider() -> Value {
    let (kind, _, spec) = places().remove(0);
    object(kind, "gupy", &spec)
}

/// What the server says to somebody who creates these; nothing is stored.
fn offered(cluster: &Cluster, who: &str, namespace: &str, objects: &[Value]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.json");
    fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).unwrap();
    cluster.kubectl(&["create", "--dry-run=server", who, "-n", namespace, "-f", file.to_str().unwrap()])
}

/// Tries again until it succeeds: rights count some moments after they are stored.
pub(super) fn until_rights_are_known(attempt: impl Fn() -> Ended) -> Ended {
    let end = Instant::now() + PATIENCE;
    loop {
        let ended = attempt();
        if ended.code == Some(0) {
            return ended;
        }
        assert!(Instant::now() < end, "{}", ended.stderr);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn no_place_that_names_a_secret_is_forgotten() {
    let mut in_schemas = BTreeSet::new();
    for file in ["webhookproviders", "tokensources", "webhooksubscriptions", "webhookreceivers"] {
        let text = fs::read_to_string(in_repository(&format!("crds/{file}.yaml"))).unwrap();
        let definition: Value = serde_saphyr::from_str(&text).unwrap();
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut paths = Vec::new();
        collect_names(&schema["properties"]["spec"], "spec", &mut paths);
        in_schemas.extend(paths.into_iter().map(|path| (kind.to_owned(), path)));
    }
    // They name objects of ours, which their own authors answer for.
    in_schemas
        .retain(|(_, path)| !["spec.providerRef.name", "spec.receiverRef.name"].contains(&path.as_str()));
    let covered: BTreeSet<_> = places().into_iter().map(|(kind, path, _)| (kind.to_owned(), path)).collect();
    assert_eq!(in_schemas, covered, "name them in deploy/admission-policy/policy.yaml and here");
}

/// The paths of all fields that hold the name of an object: only they have this pattern, with its dots.
fn collect_names(schema: &Value, path: &str, paths: &mut Vec<String>) {
    let is_name = schema["pattern"]
        .as_str()
        .is_some_and(|pattern| pattern.ends_with(r"(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"));
    let speaks_of_it =
        schema["description"].as_str().is_some_and(|text| text.starts_with("Name of the Secret"));
    if is_name || speaks_of_it {
        paths.push(path.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect_names(property, &format!("{path}.{name}"), paths);
    }
    if schema["items"].is_object() {
        collect_names(&schema["items"], &format!("{path}[]"), paths);
    }
}

#[test]
fn an_author_may_name_what_they_may_get_themselves_and_nothing_else() {
    let cluster = cluster();
    let places = places();
    let names: Vec<_> = (0..places.len()).map(|number| format!("object-{number}")).collect();
    let objects: Vec<_> =
        places.iter().zip(&names).map(|((kind, _, spec), name)| object(kind, name, spec)).collect();
    let refused = offered(cluster, AUTHOR, WITHOUT_RIGHTS, &objects);
    assert_eq!(refused.stdout, "");
    for ((kind, path, _), name) in places.iter().zip(&names) {
        let line = refused.stderr.lines().find(|line| line.contains(&format!("\"{name}\" is forbidden")));
        let line = line.unwrap_or_else(|| panic!("{kind} {path} was not refused: {}", refused.stderr));
        let reason = match path.rsplit_once("spec.").unwrap().1 {
            "publishTo.secretName" => {
                "has Secret written written, and author lacks the right to create it: verb create, resource secrets"
            }
            place if place.ends_with("tokenSourceRef.name") => {
                "names TokenSource integration, and author lacks the right to use it: verb use, resource tokensources.hookkeeper.dev"
            }
            place if place.ends_with("serviceAccount.name") => {
                "names service account sender, and author lacks the right to create its tokens: verb create, resource serviceaccounts/token"
            }
            _ => "names Secret named, and author lacks the right to get it: verb get, resource secrets",
        };
        let expected = format!("{reason}, namespace {WITHOUT_RIGHTS}");
        assert!(line.contains(&expected), "{kind} {path}: {line}");
    }
    let admitted = until_rights_are_known(|| offered(cluster, AUTHOR, WITH_RIGHTS, &objects));
    assert_eq!(admitted.stdout.lines().count(), objects.len(), "{}", admitted.stdout);
}

/// Whoever may not name a Secret may still do what changes nothing about where it goes.
#[test]
fn only_a_changed_spec_is_judged() {
    let cluster = cluster();
    let namespace = cluster.namespace("changed");
    let namespace = namespace.as_str();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("object.json");
    let source = json!({"serviceAccount": {"name": "sender", "audiences": ["receiver"]}});
    let sent = object("WebhookSubscription", "sent", &subscription(source));
    fs::write(&file, sent.to_string()).unwrap();
    cluster.succeed(&["create", "-n", namespace, "-f", file.to_str().unwrap()]);

    let patch = |who: &str, more: &[&str], patch: &str| {
        let patch = ["patch", "whs", "sent", "-n", namespace, "--type=merge", "-p", patch, who];
        cluster.kubectl(&[&patch[..], more].concat())
    };
    for (who, more, change) in [
        (
            ANNOTATOR,
            &[][..],
            r#"{"metadata": {"annotations": {"hookkeeper.dev/rotate-requested-at": "now"}}}"#,
        ),
        (OPERATOR, &[], r#"{"metadata": {"finalizers": ["hookkeeper.dev/remote"]}}"#),
        (OPERATOR, &["--subresource=status"], r#"{"status": {"observedGeneration": 1}}"#),
    ] {
        let ended = patch(who, more, change);
        assert_eq!(ended.code, Some(0), "{who} {change}: {}", ended.stderr);
    }
    let elsewhere = r#"{"spec": {"postbackUrl": "https://elsewhere.example.com"}}"#;
    let refused = patch(ANNOTATOR, &[], elsewhere);
    assert!(refused.stderr.contains("annotator lacks the right to create its tokens"), "{}", refused.stderr);
    let configmap = ["create", "configmap", "unrelated", "-n", namespace, AUTHOR];
    assert_eq!(cluster.kubectl(&configmap).code, Some(0));
}

/// A live token goes where the subscription says: who may not use its source can neither name it nor send
/// it elsewhere, and who may use one may not use the other.
#[test]
fn a_token_source_is_used_by_those_who_may_use_it() {
    let cluster = cluster();
    let namespace = cluster.namespace("used");
    let namespace = namespace.as_str();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("object.json");
    // As the page beside the policy writes it.
    let readme = fs::read_to_string(in_repository("deploy/admission-policy/README.md")).unwrap();
    let (_, role) = readme.split_once("<<'END'\n").unwrap();
    fs::write(&file, role.split_once("\nEND\n").unwrap().0).unwrap();
    cluster.succeed(&["apply", "-n", namespace, "-f", file.to_str().unwrap()]);
    let binding =
        ["create", "rolebinding", "used", "--role=use-integration", "--user=author", "-n", namespace];
    cluster.succeed(&binding);
    let (_, _, by_name) = places().pop().unwrap();
    let named = object("WebhookSubscription", "named", &by_name);
    until_rights_are_known(|| offered(cluster, AUTHOR, namespace, std::slice::from_ref(&named)));
    let refused = offered(cluster, ANNOTATOR, namespace, std::slice::from_ref(&named));
    let said = format!(
        "the object names TokenSource integration, and annotator lacks the right to use it: verb use, resource \
         tokensources.hookkeeper.dev, namespace {namespace}"
    );
    assert!(refused.code != Some(0) && refused.stderr.contains(&said), "{}", refused.stderr);

    fs::write(&file, named.to_string()).unwrap();
    cluster.succeed(&["create", "-n", namespace, "-f", file.to_str().unwrap(), AUTHOR]);
    let patch = |who: &str, patch: &str| {
        cluster.kubectl(&["patch", "whs", "named", "-n", namespace, "--type=merge", "-p", patch, who])
    };
    let elsewhere = r#"{"spec": {"postbackUrl": "https://elsewhere.example.com"}}"#;
    let other = r#"{"spec": {"tokenSourceRef": {"name": "of-somebody-else"}}}"#;
    for (who, change, lacks) in [
        (
            ANNOTATOR,
            elsewhere,
            Some("names TokenSource integration, and annotator lacks the right to use it"),
        ),
        (ANNOTATOR, r#"{"metadata": {"annotations": {"a": "b"}}}"#, None),
        (AUTHOR, other, Some("names TokenSource of-somebody-else, and author lacks the right to use it")),
        (AUTHOR, elsewhere, None),
    ] {
        let ended = patch(who, change);
        match lacks {
            None => assert_eq!(ended.code, Some(0), "{who} {change}: {}", ended.stderr),
            Some(lacks) => {
                assert!(
                    ended.code != Some(0) && ended.stderr.contains(lacks),
                    "{who} {change}: {}",
                    ended.stderr
                );
            }
        }
    }
}

/// Else its author would be sent what platforms send to another namespace.
#[test]
fn a_receiver_has_a_path_of_its_namespace_or_one_that_is_allowed_to_it() {
    let cluster = cluster();
    let offered = |namespace: &str, path: &str| {
        let mut spec = receiver(&json!({"none": {}}));
        spec["path"] = json!(path);
        offered(cluster, ANNOTATOR, namespace, &[object("WebhookReceiver", "path", &spec)])
    };
    for (namespace, path) in [
        (WITH_RIGHTS, "/with-rights/gupy"),
        (WITH_RIGHTS, "/hooks"),
        (WITH_RIGHTS, "/hooks/gupy"),
        (WITHOUT_RIGHTS, "/without-rights/gupy"),
        (WITHOUT_RIGHTS, "/open/gupy"),
    ] {
        let admitted = offered(namespace, path);
        assert_eq!((admitted.code, admitted.stderr.as_str()), (Some(0), ""), "{namespace} {path}");
    }
    for (namespace, path) in [
        (WITHOUT_RIGHTS, "/with-rights/gupy"),
        (WITHOUT_RIGHTS, "/hooks/gupy"),
        (WITH_RIGHTS, "/hooks2/gupy"),
        (WITH_RIGHTS, "/with-rights"),
        (WITH_RIGHTS, "/with-rights2/gupy"),
        (WITH_RIGHTS, "/gupy"),
    ] {
        let refused = offered(namespace, path);
        let said =
            format!("has the path {path}, and a path of namespace {namespace} begins with /{namespace}/");
        assert!(
            refused.code != Some(0) && refused.stderr.contains(&said),
            "{namespace} {path}: {}",
            refused.stderr
        );
    }
}

/// A subscription whose lists are full, and name these in turn.
fn filled(name: &str, secrets: &[String]) -> Value {
    let mut next = secrets.iter().cycle();
    let mut values = |list: &str| -> Vec<Value> {
        let value = |number: usize| format!("{list}-{number}");
        (0..31)
            .map(|number| json!({"name": value(number), "valueFrom": secret(next.next().unwrap())}))
            .collect()
    };
    let mut spec = subscription(json!({"http": {"url": "https://auth.example.com", "method": "POST"}}));
    for list in ["headers", "query", "json"] {
        spec["tokenSource"]["http"][list] = json!(values(list));
    }
    spec["clientHeaders"].as_array_mut().unwrap().extend(values("client"));
    object("WebhookSubscription", name, &spec)
}

fn long_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number:a<240}")).collect()
}

/// The server gives the evaluation of a policy a budget; what exceeds it would be refused.
#[test]
fn an_object_that_fills_every_list_is_judged_within_the_budget() {
    let admitted = offered(cluster(), "--as=reader", WITHOUT_RIGHTS, &[filled("filled", &long_names(124))]);
    assert_eq!((admitted.code, admitted.stderr.as_str()), (Some(0), ""));
}

/// To ask about each name has a price, so there is an end to it for those who may not get all Secrets.
#[test]
fn each_of_eight_names_is_judged_and_more_are_refused() {
    let cluster = cluster();
    let names = long_names(9);
    let mut role = vec!["create", "role", "filled", "-n", WITHOUT_RIGHTS, "--verb=get", "--resource=secrets"];
    let named: Vec<_> = names.iter().map(|name| format!("--resource-name={name}")).collect();
    role.extend(named.iter().map(String::as_str));
    cluster.succeed(&role);
    let binding = ["create", "rolebinding", "filled", "--role=filled", "--user=filler", "-n", WITHOUT_RIGHTS];
    cluster.succeed(&binding);
    cluster.succeed(&["create", "clusterrolebinding", "filler", "--clusterrole=objects", "--user=filler"]);
    let offered = |objects: &[Value]| offered(cluster, "--as=filler", WITHOUT_RIGHTS, objects);
    until_rights_are_known(|| offered(&[filled("eight", &names[..8])]));

    let with_a_stranger = |at: usize| {
        let mut names = names[..8].to_vec();
        names[at] = "stranger".to_owned();
        filled(&format!("stranger-{at}"), &names)
    };
    let refused = offered(&(0..8).map(with_a_stranger).collect::<Vec<_>>());
    assert_eq!(
        refused.stderr.matches("names Secret stranger, and filler lacks").count(),
        8,
        "{}",
        refused.stderr
    );
    let nine = offered(&[filled("nine", &names)]);
    assert!(nine.stderr.contains("names more than 8 Secrets"), "{}", nine.stderr);
}
