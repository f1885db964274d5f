//! Where a token and the Secrets of a document may go, on real connections: what is not allowed is not
//! sent, neither to the host that is called nor through it.

use std::sync::Arc;

use super::server::{Keys, Server};
use super::{APPLICATION_COMPLETED, CANARY, GUPY, provider, subscription};
use crate::engine::ports::{CallFailure, CallFence, Document, Refusal};
use crate::secret::bounds::{Bounds, Owner};

const POSTBACK: &str = "integrations.example.com";
const CALLED: &str = "127.0.0.1";

fn owner() -> Owner {
    Owner::TokenSource("integration".to_owned())
}

/// A document whose token may go to these hosts.
fn document(yaml: &str, hosts: &[&str]) -> Document {
    let mut token_bounds = Bounds::default();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    token_bounds.confine(owner(), &hosts);
    Document {
        namespace: "team".into(),
        spec: Arc::new(subscription(yaml)),
        token: CANARY.into(),
        token_bounds,
    }
}

/// The host that is refused when the subscription is created and updated; `None` when neither is.
async fn refused(server: &Server, spec: &str, keys: Keys, document: &Document) -> Option<String> {
    let remote = server.remote(provider(spec), keys);
    let before = server.seen().len();
    server.answers(201, "{\"id\": \"1\"}").answers(200, "{}");
    let fence = CallFence::open();
    let created = remote.create(document, &fence).await.map(drop);
    let updated = remote.update("1", document, &fence).await.map(drop);
    assert_eq!(created, updated);
    match created {
        Ok(()) => {
            assert_eq!(server.seen().len(), before + 2);
            None
        }
        Err(CallFailure::Refused(Refusal::HostNotAllowed { host, .. })) => {
            assert_eq!(server.seen().len(), before, "nothing is sent");
            Some(host)
        }
        Err(other) => panic!("{other}"),
    }
}

fn none() -> Keys {
    Keys::default()
}

/// A provider whose create and update send this.
fn provider_of(json: &str, more: &str) -> String {
    format!(
        "
auth: {{none: {{}}}}
parameters: [{{name: place}}]
operations:
  create: {{method: POST, path: /hooks, json: {json}, capture: {{id: /id}}{more}}}
  update: {{method: PUT, path: '/hooks/{{id}}', json: {json}{more}}}
"
    )
}

#[tokio::test]
async fn a_token_goes_to_the_hosts_that_its_source_names() {
    let server = Server::start().await;
    let gupy = GUPY.replace("bearer: {secretKeyRef: {name: gupy-api, key: token}}", "none: {}");
    for (hosts, host) in [
        (&[][..], Some(CALLED)),
        (&[CALLED], Some(POSTBACK)),
        (&[POSTBACK], Some(CALLED)),
        (&[POSTBACK, "api.gupy.io"], Some(CALLED)),
        (&[CALLED, "INTEGRATIONS.example.com."], None),
    ] {
        let document = document(APPLICATION_COMPLETED, hosts);
        let said = refused(&server, &gupy, none(), &document).await;
        assert_eq!(said.as_deref(), host, "{hosts:?}");
    }
    let remote = server.remote(provider(&gupy), none());
    let said = remote.update("1", &document(APPLICATION_COMPLETED, &[CALLED]), &CallFence::open()).await;
    assert_eq!(
        said.unwrap_err().to_string(),
        "a token of TokenSource integration must not be sent to integrations.example.com; add the host to \
         spec.allowedHosts of the TokenSource"
    );
}

/// The author's own host, which `auth: none` calls, sees nothing of somebody else's token.
#[tokio::test]
async fn a_server_of_the_authors_own_receives_no_token_that_is_not_for_it() {
    let (allowed, forbidden) = (Server::start().await, Server::start().await);
    let spec = provider_of("{url: '{postbackUrl}', token: '{token}'}", "");
    let own = format!("{spec}baseUrl: http://localhost:{}", forbidden.address.port());
    let document = document(APPLICATION_COMPLETED, &[CALLED, POSTBACK]);
    assert_eq!(refused(&forbidden, &own, none(), &document).await.as_deref(), Some("localhost"));
    assert_eq!(refused(&allowed, &spec, none(), &document).await, None);
    assert!(forbidden.seen().is_empty());
}

#[tokio::test]
async fn a_literal_host_in_an_operation_is_judged_as_the_postback_url_is() {
    let server = Server::start().await;
    let document = document(APPLICATION_COMPLETED, &[CALLED, POSTBACK]);
    for json in [
        "{url: 'https://evil.example/x', token: '{token}'}",
        "{url: '{postbackUrl}', also: ['HTTPS://EVIL.example:8443/'], token: '{token}'}",
        "{url: 'https://integrations.example.com@evil.example', token: '{token}'}",
        "{host: 'evil.example', path: /x, token: '{token}'}",
        "{url: '//evil.example', token: '{token}'}",
    ] {
        let spec = provider_of(json, "");
        assert!(
            refused(&server, &spec, none(), &document)
                .await
                .is_some_and(|host| host.starts_with("evil.example")),
            "{json}"
        );
    }
    // What the honest write goes through.
    let spec = provider_of("{url: '{postbackUrl}', event: '{action}', token: 'Bearer {token}'}", "");
    assert_eq!(refused(&server, &spec, none(), &document).await, None);
}

#[tokio::test]
async fn a_host_in_the_path_the_query_or_a_header_of_an_operation_is_judged() {
    let server = Server::start().await;
    let document = document(APPLICATION_COMPLETED, &[CALLED, POSTBACK]);
    let json = "{url: '{postbackUrl}', token: '{token}'}";
    for more in [
        ", headers: {X-Callback: 'https://evil.example'}",
        ", headers: {X-Forwarded-Host: evil.example}",
        ", headers: {Forwarded: 'host=evil.example'}",
    ] {
        let spec = provider_of(json, more);
        assert_eq!(
            refused(&server, &spec, none(), &document).await.as_deref(),
            Some("evil.example"),
            "{more}"
        );
    }
    let spec = provider_of(json, "")
        .replace("/hooks,", "'/hooks?to=https%3A%2F%2Fevil.example',")
        .replace("/hooks/{id}'", "/hooks/{id}?host=evil.example'");
    assert_eq!(refused(&server, &spec, none(), &document).await.as_deref(), Some("evil.example"));
}

#[tokio::test]
async fn what_a_subscription_brings_into_the_document_is_judged_too() {
    let server = Server::start().await;
    let spec = provider_of("{url: '{parameters.place}', headers: '{headers}', token: '{token}'}", "");
    let with = |place: &str, header: &str| {
        let yaml = format!("{APPLICATION_COMPLETED}parameters: {{place: '{place}'}}");
        yaml.replace("tokenSourceRef", &format!("  - {{name: X-Url, {header}}}\ntokenSourceRef"))
    };
    let fine = "value: x";
    let from_secret = "valueFrom: {secretKeyRef: {name: own, key: url}}";
    for (place, header, said) in [
        ("https://evil.example", fine, Some("evil.example")),
        ("evil.example/x", fine, Some("evil.example")),
        (&format!("https://{POSTBACK}"), fine, None),
        ("", "value: 'https://evil.example'", Some("evil.example")),
        // A Secret of the author's own; what stands in it is told to nobody.
        ("", from_secret, Some("a host that stands encoded or in a Secret's value")),
    ] {
        let keys = none().with("team/own/url", "https://hidden.example", None);
        let document = document(&with(place, header), &[CALLED, POSTBACK]);
        assert_eq!(refused(&server, &spec, keys, &document).await.as_deref(), said, "{place} {header}");
    }
}

/// The Secret of a header is bound as the token is; the credential is bound to the host that is called.
#[tokio::test]
async fn each_secret_of_a_request_has_its_own_hosts() {
    let server = Server::start().await;
    let spec = "
auth: {bearer: {secretKeyRef: {name: gupy-api, key: token}}}
operations:
  create: {method: POST, path: /hooks, json: {url: 'https://other.example', headers: '{headers}'}, capture: {id: /id}}
  update: {method: PUT, path: '/hooks/{id}', json: {url: 'https://other.example', headers: '{headers}'}}
";
    let yaml = APPLICATION_COMPLETED.replace(
        "tokenSourceRef",
        "  - {name: apiKey, valueFrom: {secretKeyRef: {name: receiver, key: apiKey}}}\ntokenSourceRef",
    );
    let document = Document { token_bounds: Bounds::default(), ..document(&yaml, &[]) };
    let keys = |receiver| {
        none().with("team/gupy-api/token", "key", Some(CALLED)).with("team/receiver/apiKey", "x", receiver)
    };
    let both = format!("{CALLED},{POSTBACK}");
    let all = format!("{both},other.example");
    for (receiver, said) in [(None, None), (Some(both.as_str()), Some("other.example")), (Some(&all), None)] {
        let said_now = refused(&server, spec, keys(receiver), &document).await;
        assert_eq!(said_now.as_deref(), said, "{receiver:?}");
    }
}
