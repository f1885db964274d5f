//! What the types that hold a secret print of themselves, and who may open one.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hookkeeper::api::manifest;
use hookkeeper::engine::ports::{Document, Lifetime, Minted, Published, SecretValue};
use hookkeeper::http::{HeaderName, Method, Request, Url};
use hookkeeper::sandbox::{
    Authentication, Client, ClientChange, Config, IdUnico, Platform, Pulpo, QualP, SandboxInfo, SenderConfig,
    TRIAL_CLIENT_ID,
};
use hookkeeper::secret::SecretText;
use hookkeeper::secret::bounds::Bounds;
use hookkeeper::sidecar::manifest_secrets::{ManifestSecrets, SecretManifest};
use hookkeeper::sidecar::manifests::document;
use hookkeeper::sidecar::manifests::folder::Folder;

use super::canaries::{CANARY, Canaries};
use super::hookkeeper;
use super::modules::sources;
use super::trial::Trial;
use super::world;

fn canary() -> SecretText {
    format!("{CANARY}of-a-type").into()
}

fn assert_silent(what: &str, value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert_eq!(Canaries::default().found_in(&text), None, "{what}: {text}");
    }
}

const MANIFEST: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: gupy-api}
stringData: {token: canary-of-a-manifest}
data: {other: Y2FuYXJ5LW9mLWEtbWFuaWZlc3Q=}
---
apiVersion: v1
kind: Secret
metadata: {name: broken}
stringData: {token: [canary-of-a-manifest]}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {name: broken}
spec: {secret: canary-of-a-manifest, canary-of-a-field: 1
";

#[test]
fn no_type_that_holds_a_secret_prints_it() {
    let now = DateTime::<Utc>::UNIX_EPOCH;
    let client = Client {
        id: TRIAL_CLIENT_ID.to_owned(),
        secret: canary(),
        token_life: Duration::ZERO,
        revokes_previous: false,
    };
    let platforms = [
        Platform::IdUnico(IdUnico {
            authentication: Authentication::Basic(canary()),
            attempts: 1,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            api_key: canary(),
        }),
        Platform::Pulpo(Pulpo { token: canary(), sample_is_handed_on: false }),
        Platform::QualP(QualP { secret: canary(), access_token: canary(), tax_id: canary() }),
    ];
    let config = Config {
        management_token: canary(),
        clients: vec![client.clone()],
        senders: platforms.clone().map(SenderConfig::of).into(),
        ..Config::default()
    };
    let info = SandboxInfo {
        url: "http://127.0.0.1".to_owned(),
        management_token: canary(),
        client: client.clone(),
        platforms: platforms.map(|platform| (platform.name().to_owned(), platform)).into(),
    };
    let value = SecretValue::new(canary(), "1".to_owned(), None);
    let minted =
        Minted { token: canary(), lifetime: Lifetime::Unknown, version: None, bounds: Bounds::default() };
    let published = Published {
        current: canary(),
        previous: Some(canary()),
        previous_fingerprint: None,
        fingerprint: "9f3ac1d27be0114c".to_owned(),
        minted: now,
        expires: None,
        allowed_hosts: None,
    };
    let sent = Document {
        namespace: "default".into(),
        spec: world::subscription(1, "source").into(),
        token: canary(),
        token_bounds: Bounds::default(),
    };
    let held = SecretManifest {
        data: BTreeMap::from([("token".to_owned(), canary())]),
        allowed_hosts: None,
        version: "1".to_owned(),
    };
    let secrets = ManifestSecrets::default();
    secrets.replace(BTreeMap::from([(hookkeeper::api::ObjectKey::new("default", "gupy-api"), held.clone())]));
    let request = Request {
        method: Method::POST,
        url: Url::parse("https://user:canary-in-a-url@a.example/canary-in-a-path?a=canary-in-a-query")
            .unwrap(),
        headers: vec![(HeaderName::from_static("token"), canary())],
        body: Some(("application/json".to_owned(), canary().into())),
        bounds: Bounds::default(),
        timeout: Duration::ZERO,
    };
    let read = manifest::read(MANIFEST);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret.yaml"), MANIFEST).unwrap();
    let mut watched = Folder::new(folder.path().to_owned());
    let seen = watched.look(std::time::SystemTime::now());
    let values: [(&str, &dyn Debug); 16] = [
        ("SecretText", &canary()),
        ("SecretValue", &value),
        ("Minted", &minted),
        ("Published", &published),
        ("Document", &sent),
        ("SecretManifest", &held),
        ("ManifestSecrets", &secrets),
        ("Request", &request),
        ("Client", &client),
        ("ClientChange", &ClientChange { secret: Some(canary()), ..ClientChange::default() }),
        ("Config", &config),
        ("SandboxInfo", &info),
        ("manifest::Document", &read),
        ("FileContent", &document::understand(MANIFEST, "1")),
        ("Folder", &watched),
        ("FolderRead", &seen),
    ];
    for (what, value) in values {
        assert_silent(what, value);
    }
}

/// Whoever opens a secret is on this list; a place that is new here deserves a second look.
#[test]
fn a_secret_is_opened_only_where_it_is_sent_written_or_understood() {
    let openers: Vec<String> = sources("")
        .into_iter()
        .filter(|source| source.code.contains(".expose()") && !source.path.starts_with("sandbox/"))
        .map(|source| source.path)
        .collect();
    let mut openers: Vec<&str> = openers.iter().map(String::as_str).collect();
    openers.sort_unstable();
    assert_eq!(
        openers,
        [
            "cli/storing.rs",
            "gate/fallback/desk.rs",
            "gate/loader.rs",
            "gate/verification/api_key.rs",
            "gate/verification/basic.rs",
            "gate/verification/hmac.rs",
            "gate/verification/standard_webhooks.rs",
            "gate/verification/token.rs",
            "gate/verification/token_book.rs",
            "http/client.rs",
            "http/message.rs",
            "http/proxy.rs",
            "http/scheme.rs",
            "http/written.rs",
            "kubernetes/publish.rs",
            "kubernetes/service_accounts.rs",
            "provider/account.rs",
            "provider/client_headers.rs",
            "provider/connection.rs",
            "provider/credentials.rs",
            "provider/echo.rs",
            "provider/path.rs",
            "provider/render.rs",
            "rotation/published.rs",
            "secret.rs",
            "sidecar/manifests/folder.rs",
            "sidecar/manifests/references.rs",
            "sidecar/manifests/watch.rs",
            "sidecar/publish.rs",
            "token_source/answer.rs",
            "token_source/http.rs",
            "token_source/oauth2.rs",
            "token_source/secret.rs",
            "token_source/values.rs",
        ]
    );
}

/// The value of a Secret is had only for a request or a token that knows where it may go, and only one
/// place judges that. Who begins with no bounds is on this list too.
#[test]
fn a_secrets_bounds_are_joined_where_it_is_read_and_judged_where_it_is_sent() {
    let users = |words: &[&str]| -> Vec<String> {
        let found =
            sources("").into_iter().filter(|source| words.iter().any(|word| source.code.contains(word)));
        let mut found: Vec<_> = found
            .map(|source| source.path)
            .filter(|path| !path.starts_with("sandbox/") && path != "secret/bounds.rs")
            .collect();
        found.sort_unstable();
        found
    };
    assert_eq!(
        users(&[".bounds)", "&mut bounds)"]),
        [
            "gate/fallback/question.rs",
            "provider/secrets.rs",
            "token_source/secret.rs",
            "token_source/values.rs"
        ],
        "opens a Secret's value"
    );
    assert_eq!(
        users(&["Bounds::default()"]),
        [
            // What is compared with what comes, and sent nowhere.
            "cli/gate_ports.rs",
            "engine/state/mod.rs",
            "engine/state/tokens.rs",
            "gate/fallback/question.rs",
            // The platform's own delivery, to the application that its receiver names.
            "gate/hand_on/request.rs",
            "kubernetes/service_accounts.rs",
            "provider/connection.rs",
            "provider/gateway.rs",
            "token_source/mod.rs",
            "token_source/oauth2.rs",
            "token_source/secret.rs",
            "token_source/values.rs",
        ],
        "begins without bounds"
    );
    assert_eq!(users(&["written::judge("]), ["http/client.rs"]);
}

#[test]
fn help_quotes_no_value_of_the_environment() {
    let ended = hookkeeper()
        .args(["sandbox", "--help"])
        .env("HOOKKEEPER_SANDBOX_CLIENT_SECRET", "canary-client-secret")
        .env("HOOKKEEPER_SANDBOX_MANAGEMENT_TOKEN", "canary-management-token")
        .run();
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.contains("HOOKKEEPER_SANDBOX_CLIENT_SECRET"));
}

/// What `process` looks through besides the output, so that looking is not an empty word.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_health_and_the_state_file_are_looked_through() {
    let trial = Trial::start(Duration::from_secs(60), 1).await;
    let mut sidecar = trial.sidecar();
    trial.until(&sidecar, "the id recorded", |_| trial.state().contains("webhookId")).await;
    assert!(sidecar.get("/metrics").unwrap().contains("hookkeeper_mints_total"));
    let before = sidecar.looked();
    sidecar.look();
    assert_eq!(sidecar.looked() - before, 6, "four answers, the state file and its lock");
}
