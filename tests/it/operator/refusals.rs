//! What is refused or cannot be reached: the conditions and events say what to do, one bad object
//! harms no other, and putting it right is enough.

use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};

use super::trial::Trial;

const SOURCE: &str = "tokenSourceRef: {name: integration}";
const PROVIDER: &str = "providerRef: {name: gupy}";

/// The trial's provider under another name, with another credential.
fn provider(trial: &Trial<'_>, name: &str, secret: &str, lines: &str) -> String {
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: {name}}}
spec:
  preset: gupy
  baseUrl: {}
  auth: {{bearer: {{secretKeyRef: {{name: {secret}, key: token}}}}}}{lines}
---
",
        trial.sandbox.url()
    )
}

/// The trial's token source under another name and at another address.
fn source(name: &str, url: &str) -> String {
    format!(
        "apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: {name}}}
spec:
  oauth2:
    tokenUrl: {url}/oauth/token
    clientId: {{value: hr-integration}}
    clientSecret: {{secretKeyRef: {{name: integration-client, key: secret}}}}
---
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_said_and_goes_on_when_it_is_put_right() {
    let trial = Trial::start(Duration::from_secs(20), 1).await;
    trial.apply();
    trial.kubectl(&["create", "secret", "generic", "wrong", "--from-literal=token=a-wrong-credential"]);
    trial.kubectl(&["create", "secret", "generic", "bound", "--from-literal=token=another-credential"]);
    trial.kubectl(&["annotate", "secret", "bound", "hookkeeper.dev/allowed-hosts=api.gupy.io"]);
    let subscription = |name: &str, provider: &str, source: &str| {
        Trial::subscription(name, &format!("action.{name}"), &[])
            .replace(PROVIDER, &format!("providerRef: {{name: {provider}}}"))
            .replace(SOURCE, &format!("tokenSourceRef: {{name: {source}}}"))
    };
    trial.apply_text(
        &[
            provider(&trial, "wrong", "wrong", ""),
            provider(&trial, "unauthorised", "gupy-api", ""),
            provider(&trial, "bound", "bound", ""),
            provider(&trial, "suspended", "gupy-api", "\n  suspend: true"),
            source("unreachable", "http://127.0.0.1:1"),
            source("narrow", &trial.sandbox.url()).replace("spec:", "spec:\n  allowedHosts: [api.gupy.io]"),
            subscription("no-provider", "absent", "integration"),
            subscription("no-source", "gupy", "absent"),
            subscription("wrong", "wrong", "integration"),
            subscription("unauthorised", "unauthorised", "integration"),
            subscription("bound", "bound", "integration"),
            subscription("suspended", "suspended", "integration"),
            subscription("unreachable", "gupy", "unreachable"),
            subscription("narrow", "gupy", "narrow"),
            // The schema lets it pass.
            subscription("invalid", "gupy", "integration").replace("gupy\n  client", "gupy?x=%zz\n  client"),
            subscription("local", "gupy", "integration")
                .replace("https://integrations.example.com", "https://receiver.team.svc"),
        ]
        .concat(),
    );
    let refused = Fault { action: Some("action.unauthorised".into()), ..Fault::status(Target::Create, 401) };
    trial.sandbox.faults().add(refused).unwrap();
    let controller = trial.program("one").args(["--allow-destination", "http://127.0.0.1:1"]).spawn();
    let controllers = &[&controller];
    // Name, reason, what the message must tell, whether a person must change something.
    let stories: [(&str, &str, &str, bool); 10] = [
        ("no-provider", "ProviderNotFound", "WebhookProvider absent was not found; create it", false),
        ("no-source", "TokenSourceNotFound", "TokenSource absent was not found; create it", false),
        ("wrong", "ProviderRefusedCredentials", "answered 403 (create); check that the credential", false),
        ("unauthorised", "ProviderRefusedCredentials", "(401); renew it in the provider's Secret", false),
        ("bound", "DestinationNotAllowed", "hookkeeper.dev/allowed-hosts", false),
        (
            "narrow",
            "DestinationNotAllowed",
            "a token of TokenSource narrow must not be sent to 127.0.0.1; add the host to spec.allowedHosts",
            false,
        ),
        ("suspended", "Suspended", "suspended, here or at the WebhookProvider", false),
        ("unreachable", "TokenSourceUnavailable", "could not be reached", false),
        ("invalid", "InvalidSpec", "spec.postbackUrl: must be an absolute http or https URL", true),
        ("local", "InvalidSpec", "spec.postbackUrl: the provider reaches public DNS names only", true),
    ];
    for (name, reason, message, stalls) in stories {
        let object = format!("whs/{name}");
        let said = trial.until_says(controllers, &object, "Ready", &format!("False {reason}: ")).await;
        assert!(said.contains(message), "{said}");
        let expected = if stalls { said.replacen("False", "True", 1) } else { " : ".to_owned() };
        assert_eq!(trial.says(&object, "Stalled"), expected);
        if !["no-provider", "no-source", "suspended"].contains(&name) {
            let event = trial.until_told(controllers, name, &format!("Warning {reason}: ")).await;
            assert!(event.contains(message), "{event}");
        }
    }
    trial.until_says(controllers, "whp/unauthorised", "Ready", "False ProviderRefusedCredentials: ").await;
    // It is held back for what it is, and not for an outage.
    let told = trial.events("unauthorised");
    assert!(!told.contains("ProviderUnavailable"), "{told}");

    let rotations = trial.sandbox.ledger().rotations;
    let healthy = |trial: &Trial<'_>| trial.sandbox.ledger().rotations > rotations;
    trial.until(controllers, "the healthy one goes on", healthy).await;

    trial.sandbox.faults().clear();
    trial.apply_text(
        &[
            provider(&trial, "absent", "gupy-api", ""),
            provider(&trial, "wrong", "gupy-api", ""),
            provider(&trial, "unauthorised", "gupy-api", "\n  limits: {requestsPerMinute: 60}"),
            provider(&trial, "bound", "gupy-api", ""),
            provider(&trial, "suspended", "gupy-api", "\n  suspend: false"),
            source("absent", &trial.sandbox.url()),
            source("unreachable", &trial.sandbox.url()),
            source("narrow", &trial.sandbox.url())
                .replace("spec:", "spec:\n  allowedHosts: [127.0.0.1, integrations.example.com]"),
            subscription("invalid", "gupy", "integration"),
            subscription("local", "gupy", "integration"),
        ]
        .concat(),
    );
    trial.kubectl(&["wait", "--for=condition=Ready", "whs,whp,tsrc", "--all", "--timeout=150s"]);
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled), (11, 0), "{ledger:#?}");
    trial.assert_no_secrets();
}

/// A Secret that is changed is used as it is now: the credential of a provider at its next call, one
/// in a header at the next verification.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_and_a_manual_request_reach_their_subscriptions() {
    let trial = Trial::start(Duration::from_secs(600), 1).await;
    trial.apply();
    trial.kubectl(&["create", "secret", "generic", "tenant", "--from-literal=key=first-tenant-key"]);
    let with_header = Trial::subscription("tenant", "job.published", &[]).replace(
        "clientHeaders:",
        "clientHeaders:\n    - {name: X-Tenant, valueFrom: {secretKeyRef: {name: tenant, key: key}}}",
    );
    trial.apply_text(&with_header);
    trial.kubectl(&["patch", "whp", "gupy", "--type=merge", "-p", r#"{"spec":{"verifyInterval":"1m"}}"#]);
    let controller = trial.controller("one");
    let controllers = &[&controller];
    trial.until_says(controllers, "whs/tenant", "Ready", "True Created: ").await;
    let applied = |trial: &Trial<'_>| trial.field("whs/tenant", ".status.appliedSecrets");
    let before = applied(&trial);
    let patch = r#"{"stringData":{"key":"second-tenant-key"}}"#;
    trial.kubectl(&["patch", "secret", "tenant", "-p", patch]);
    trial
        .until(controllers, "the changed header applied", |trial| {
            !applied(trial).is_empty() && applied(trial) != before
        })
        .await;
    assert_eq!(trial.sandbox.ledger().surplus_updates, 1, "the token is the same");

    let minted = trial.sandbox.ledger().mints;
    trial.kubectl(&["annotate", "whs", "tenant", "hookkeeper.dev/rotate-requested-at=2026-11-22T10:00:00Z"]);
    let handled = |trial: &Trial<'_>| trial.field("whs/tenant", ".status.lastHandledRotateRequest");
    trial.until(controllers, "the request is echoed", |trial| handled(trial) == "2026-11-22T10:00:00Z").await;
    assert_eq!(trial.sandbox.ledger().mints, minted + 1);
    assert!(trial.says("whs/tenant", "Ready").starts_with("True Rotated: "));
    trial.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_nowhere_before_it_says_where_it_may_go_if_that_is_required() {
    let trial = Trial::start(Duration::from_secs(20), 1).await;
    trial.apply();
    let controller = trial.program("one").arg("--require-allowed-hosts").spawn();
    let controllers = &[&controller];
    let object = "whs/application-completed";
    let begin = "False DestinationNotAllowed: ";
    let said = trial.until_says(controllers, object, "Ready", begin).await;
    assert!(said.contains("hookkeeper.dev/allowed-hosts"), "{said}");
    trial.kubectl(&["annotate", "secret", "gupy-api", "hookkeeper.dev/allowed-hosts=127.0.0.1"]);
    trial.kubectl(&["annotate", "secret", "integration-client", "hookkeeper.dev/allowed-hosts=127.0.0.1"]);
    trial.until_says(controllers, object, "Ready", "True Created: ").await;
    trial.assert_well();
}
