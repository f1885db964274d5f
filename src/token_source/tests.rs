//! The minter against real sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::api::*;
use crate::engine::ports::{SecretFailure, SecretValue};
use crate::http::{Config, DestinationPolicy};
use crate::rotation::time::Moment;
use crate::secret::bounds::Owner;

/// A token server that gives one answer to everybody and keeps what it was sent.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(status: &str, headers: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = Vec::new();
                let complete = |read: &[u8]| {
                    let text = String::from_utf8_lossy(read).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "))
                        .map_or(0, |length| length.parse().unwrap());
                    (body.len() >= length).then(|| text.clone())
                };
                let request = loop {
                    read.push(stream.read_u8().await.unwrap());
                    if let Some(request) = complete(&read) {
                        break request;
                    }
                };
                kept.lock().unwrap().push(request);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, requests }
    }

    fn only_request(&self) -> String {
        let requests = self.requests.lock().unwrap();
        assert_eq!(requests.len(), 1);
        requests[0].clone()
    }
}

#[derive(Default)]
struct Fixed {
    values: BTreeMap<(&'static str, &'static str), &'static str>,
    allowed_hosts: Option<Vec<String>>,
}

impl Secrets for Fixed {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>> {
        assert_eq!(namespace, "team");
        let found = self
            .values
            .get(&(reference.name.as_str(), reference.key.as_str()))
            .map(|text| SecretValue::new((*text).into(), "1".to_owned(), self.allowed_hosts.clone()))
            .ok_or(SecretFailure::NotFound);
        Box::pin(async { found })
    }
}

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Moment {
        Moment { wall: "2026-11-21T17:00:00Z".parse().unwrap(), boot: Duration::ZERO }
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

fn minter(secrets: Fixed) -> TokenMinter {
    let config = Config {
        destinations: DestinationPolicy::new(vec!["http://127.0.0.1".parse().unwrap()]),
        ..Config::default()
    };
    TokenMinter::new(Client::new(config).unwrap(), Arc::new(secrets), Arc::new(Standing))
}

fn secrets() -> Fixed {
    Fixed {
        values: [
            (("client", "id"), "the-id"),
            (("client", "secret"), "canary\n"),
            (("kept", "token"), "abc"),
        ]
        .into(),
        allowed_hosts: None,
    }
}

fn from(name: &str, key: &str) -> SecretSource {
    SecretSource { secret_key_ref: SecretKeyReference { name: name.to_owned(), key: key.to_owned() } }
}

fn oauth2(url: &str) -> TokenSourceSpec {
    TokenSourceSpec {
        oauth2: Some(OAuth2TokenSource {
            token_url: url.to_owned(),
            client_id: SourcedValue { value: Some("hr".to_owned()), value_from: None },
            client_secret: from("client", "secret"),
            ..OAuth2TokenSource::default()
        }),
        ..TokenSourceSpec::default()
    }
}

fn http(source: HttpTokenSource) -> TokenSourceSpec {
    TokenSourceSpec { http: Some(source), ..TokenSourceSpec::default() }
}

fn named(name: &str, value: &str) -> NamedValue {
    NamedValue { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn named_from(name: &str, secret: &str, key: &str) -> NamedValue {
    let value_from = PrefixedSecretSource { prefix: None, secret_key_ref: from(secret, key).secret_key_ref };
    NamedValue { name: name.to_owned(), value: None, value_from: Some(value_from) }
}

async fn mint(secrets: Fixed, source: &TokenSourceSpec) -> Result<Minted, MintFailure> {
    let minted = Minter::mint(&minter(secrets), "team", source, &CallFence::open()).await;
    assert!(!format!("{minted:?}").contains("canary"), "{minted:?}");
    if let Err(failure) = &minted {
        assert!(!failure.to_string().contains("canary"), "{failure}");
    }
    minted
}

#[tokio::test]
async fn client_credentials() {
    let server = Server::start("200 OK", "", r#"{"access_token":"abc","expires_in":3600}"#).await;
    let minted = mint(secrets(), &oauth2(&server.url)).await.unwrap();
    assert_eq!(minted.token.expose(), "abc");
    assert_eq!(minted.lifetime, Lifetime::Stated(Duration::from_secs(3600)));
    assert_eq!(minted.version, None);
    let request = server.only_request();
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    // `hr:canary`, without the line end that is in the Secret.
    assert!(request.contains("authorization: Basic aHI6Y2FuYXJ5\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials"), "{request}");
}

#[tokio::test]
async fn any_endpoint_with_a_form() {
    let server = Server::start("200 OK", "", r#"{"data":{"jwt":"abc"}}"#).await;
    let source = http(HttpTokenSource {
        url: format!("{}?v=1", server.url),
        headers: vec![named_from("X-Client", "client", "id"), {
            let mut header = named_from("Authorization", "client", "secret");
            header.value_from.as_mut().unwrap().prefix = Some("token ".to_owned());
            header
        }],
        query: vec![named("a b", "c&d")],
        form: vec![named("user", "x"), named_from("password", "client", "secret")],
        response: Some(TokenResponse {
            token_path: Some("/data/jwt".to_owned()),
            ..TokenResponse::default()
        }),
        ..HttpTokenSource::default()
    });
    let minted = mint(secrets(), &source).await.unwrap();
    assert_eq!((minted.token.expose(), minted.lifetime), ("abc", Lifetime::Unknown));
    let request = server.only_request();
    assert!(request.starts_with("POST /token?v=1&a+b=c%26d HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-client: the-id\r\n"), "{request}");
    assert!(request.contains("authorization: token canary\r\n"), "{request}");
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nuser=x&password=canary"), "{request}");
}

#[tokio::test]
async fn any_endpoint_with_json_or_another_body() {
    let server = Server::start("201 Created", "", "abc\n").await;
    let source = HttpTokenSource {
        url: server.url.clone(),
        method: Some(HttpMethod::Put),
        json: vec![named("b", "\"quoted\""), named_from("a", "client", "secret")],
        response: Some(TokenResponse { format: Some(ResponseFormat::Text), ..TokenResponse::default() }),
        ..HttpTokenSource::default()
    };
    assert_eq!(mint(secrets(), &http(source.clone())).await.unwrap().token.expose(), "abc");
    let request = server.only_request();
    assert!(request.starts_with("PUT "), "{request}");
    assert!(request.contains("accept: */*\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with(r#"{"a":"canary","b":"\"quoted\""}"#), "{request}");

    let server = Server::start("200 OK", "", "abc").await;
    let with_body = HttpTokenSource {
        url: server.url.clone(),
        json: vec![],
        body: Some(HttpBody {
            content_type: "text/xml".to_owned(),
            value: Some("<login/>".to_owned()),
            value_from: None,
        }),
        ..source.clone()
    };
    mint(secrets(), &http(with_body.clone())).await.unwrap();
    let request = server.only_request();
    assert!(request.contains("content-type: text/xml\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n<login/>"), "{request}");

    let both = HttpTokenSource { json: source.json, ..with_body };
    let refused = mint(secrets(), &http(both)).await;
    assert!(matches!(refused, Err(MintFailure::Refused(Refusal::UnusableValue { .. }))));
}

#[tokio::test]
async fn a_moment_of_expiry_counts_from_the_answers_own_clock() {
    let body = r#"{"token":"abc","expires_at":"2026-11-21T18:00:00Z"}"#;
    for (date, minutes) in [("", 60), ("Date: Sat, 21 Nov 2026 17:30:00 GMT\r\n", 30)] {
        let server = Server::start("200 OK", date, body).await;
        let minted = mint(secrets(), &oauth2(&server.url)).await.unwrap();
        assert_eq!(minted.lifetime, Lifetime::Stated(Duration::from_secs(minutes * 60)));
    }
}

#[tokio::test]
async fn answers_that_are_no_success() {
    for (status, headers, body, expected) in [
        (
            "400 Bad Request",
            "",
            r#"{"error":"invalid_client","error_description":"canary"}"#,
            MintFailure::Status {
                code: 400,
                retry_after: None,
                credential_refused: true,
                oauth_error: Some("invalid_client".to_owned()),
            },
        ),
        (
            "429 Too Many Requests",
            "Retry-After: 7\r\n",
            "canary",
            MintFailure::Status {
                code: 429,
                retry_after: Some(Duration::from_secs(7)),
                credential_refused: false,
                oauth_error: None,
            },
        ),
        ("302 Found", "Location: /canary\r\n", "", MintFailure::Redirect { code: 302 }),
        (
            "200 OK",
            "",
            r#"{"error":"invalid_client","error_description":"canary"}"#,
            MintFailure::Status {
                code: 200,
                retry_after: None,
                credential_refused: true,
                oauth_error: Some("invalid_client".to_owned()),
            },
        ),
        ("200 OK", "", r#"{"error":{"message":"canary"}}"#, MintFailure::Declined),
    ] {
        let server = Server::start(status, headers, body).await;
        assert_eq!(mint(secrets(), &oauth2(&server.url)).await, Err(expected));
    }
    let server = Server::start("200 OK", "", r#"{"canary":"canary"}"#).await;
    assert!(matches!(mint(secrets(), &oauth2(&server.url)).await, Err(MintFailure::Unusable { .. })));
}

#[tokio::test]
async fn a_secret_goes_only_where_it_may() {
    let server = Server::start("200 OK", "", r#"{"token":"abc"}"#).await;
    let confined = |hosts: &[&str]| Fixed {
        allowed_hosts: Some(hosts.iter().map(|host| (*host).to_owned()).collect()),
        ..secrets()
    };
    assert!(mint(confined(&["other", "127.0.0.1"]), &oauth2(&server.url)).await.is_ok());
    let refused = mint(confined(&["auth.example.com"]), &oauth2(&server.url)).await;
    assert_eq!(
        refused,
        Err(MintFailure::Refused(Refusal::HostNotAllowed {
            owner: Owner::Secret("client".to_owned()),
            host: "127.0.0.1".to_owned(),
        }))
    );
    server.only_request();
}

#[tokio::test]
async fn what_forbids_a_call_is_told_apart() {
    let server = Server::start("200 OK", "", r#"{"token":"abc"}"#).await;
    assert_eq!(
        mint(Fixed::default(), &oauth2(&server.url)).await,
        Err(MintFailure::Refused(Refusal::SecretNotFound {
            name: "client".to_owned(),
            key: "secret".to_owned(),
        }))
    );
    let elsewhere = mint(secrets(), &oauth2("http://127.0.0.2:8080/canary")).await;
    assert_eq!(
        elsewhere,
        Err(MintFailure::Refused(Refusal::DestinationNotAllowed {
            host: "127.0.0.2:8080".to_owned(),
            problem: "plain http goes only where an exception allows it".to_owned(),
            allow: "--allow-destination http://127.0.0.2:8080".to_owned(),
        }))
    );
    let ended = CallFence::new(|| None);
    let failure = Minter::mint(&minter(secrets()), "team", &oauth2(&server.url), &ended).await;
    assert_eq!(failure, Err(MintFailure::Refused(Refusal::ClaimEnded)));
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_token_in_a_secret() {
    let source = TokenSourceSpec {
        secret: Some(SecretTokenSource {
            name: "kept".to_owned(),
            key: "token".to_owned(),
            expires_at_key: None,
        }),
        ..TokenSourceSpec::default()
    };
    let minted = mint(secrets(), &source).await.unwrap();
    assert_eq!((minted.token.expose(), minted.version.as_deref()), ("abc", Some("1")));
    assert_eq!(minted.bounds.hosts(), None);
    for hosts in [vec![], vec!["api.gupy.io".to_owned()]] {
        let confined = Fixed { allowed_hosts: Some(hosts.clone()), ..secrets() };
        let minted = mint(confined, &source).await.unwrap();
        assert_eq!(minted.bounds.hosts(), Some(hosts));
    }
}

#[tokio::test]
async fn kinds_that_need_something_else() {
    let account = TokenSourceSpec {
        service_account: Some(ServiceAccountTokenSource::default()),
        ..TokenSourceSpec::default()
    };
    for (source, word) in [(account, "cluster"), (TokenSourceSpec::default(), "exactly one")] {
        let refused = mint(secrets(), &source).await.unwrap_err();
        assert!(matches!(refused, MintFailure::Refused(Refusal::Unsupported { .. })));
        assert!(refused.to_string().contains(word), "{refused}");
    }
}

#[tokio::test]
async fn a_request_without_a_body_announces_none() {
    for (method, expected) in [(None, true), (Some(HttpMethod::Put), true), (Some(HttpMethod::Get), false)] {
        let server = Server::start("200 OK", "", r#"{"token":"abc"}"#).await;
        let source = HttpTokenSource { url: server.url.clone(), method, ..HttpTokenSource::default() };
        mint(secrets(), &http(source)).await.unwrap();
        let request = server.only_request();
        assert_eq!(request.contains("content-length: 0\r\n"), expected, "{request}");
    }
}
