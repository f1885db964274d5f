//! The token server's endpoints: RFC 6749 client credentials, and Gupy's camelCase style.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::cuttable::Peer;
use super::exchange::{Answer, exchange};
use super::faults::{Fault, Subject, Target};
use super::ledger::{Event, TokenRequest};
use super::shared::Shared;
use super::tokens::Issued;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/oauth/token", post(oauth)).route("/api/v1/auth/token", post(camel_case))
}

/// How an endpoint speaks.
#[derive(Clone, Copy)]
enum Style {
    /// RFC 6749, sections 4.4 and 5.
    Rfc,
    /// `{accessToken, expiresIn, tokenType}`
    CamelCase,
}

struct Credentials {
    id: String,
    secret: String,
}

async fn oauth(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let request = client_credentials(authorization, &body);
    answer(shared, peer, Style::Rfc, request).await
}

async fn camel_case(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let request = match (text("clientId"), text("secret")) {
        (Some(id), Some(secret)) => Ok(Credentials { id, secret }),
        _ => Err(Answer::error(
            StatusCode::BAD_REQUEST,
            "Validation Error",
            "Missing clientId or secret param",
        )),
    };
    answer(shared, peer, Style::CamelCase, request).await
}

/// Reads a request of RFC 6749, section 4.4.2; the client names itself by one method only (2.3).
fn client_credentials(authorization: Option<&str>, body: &[u8]) -> Result<Credentials, Answer> {
    let form: HashMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    match form.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        Some(_) => return Err(refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        None => return Err(refusal(StatusCode::BAD_REQUEST, "invalid_request")),
    }
    let posted = (form.get("client_id"), form.get("client_secret"));
    match (authorization, posted) {
        (Some(_), (_, Some(_))) => Err(refusal(StatusCode::BAD_REQUEST, "invalid_request")),
        (Some(authorization), _) => basic(authorization).ok_or_else(invalid_client),
        (None, (Some(id), Some(secret))) => Ok(Credentials { id: id.clone(), secret: secret.clone() }),
        (None, _) => Err(invalid_client()),
    }
}

/// `Basic`, whose two halves are form-encoded first (RFC 6749, section 2.3.1).
fn basic(authorization: &str) -> Option<Credentials> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some(Credentials { id: form_decoded(id)?, secret: form_decoded(secret)? })
}

fn form_decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
    Some(decoded.ok()?.into_owned())
}

fn refusal(status: StatusCode, error: &str) -> Answer {
    Answer::json(status, &json!({"error": error}))
}

fn invalid_client() -> Answer {
    refusal(StatusCode::UNAUTHORIZED, "invalid_client").with("www-authenticate", "Basic realm=\"sandbox\"")
}

async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    style: Style,
    request: Result<Credentials, Answer>,
) -> Response {
    let note = TokenRequest {
        client: request.as_ref().ok().map(|given| given.id.clone()),
        ..TokenRequest::default()
    };
    let mut subject = Subject::new(Target::Token);
    subject.client.clone_from(&note.client);
    let untouched = Some(Event::TokenRequest(note.clone()));
    exchange(shared, peer, subject, untouched, move |world, now, fault| {
        let (answer, note) = match request {
            Err(refusal) => (refusal, note),
            Ok(given) => {
                let random = &mut world.random;
                match world.tokens.issue(now, &given.id, &given.secret, random) {
                    None => (refused(style), note),
                    Some(issued) => {
                        let note = TokenRequest {
                            token: Some(issued.token.label.clone()),
                            expires: Some(issued.token.expires),
                            ..note
                        };
                        (granted(style, &issued, fault), note)
                    }
                }
            }
        };
        (answer, Some(Event::TokenRequest(note)))
    })
    .await
}

fn refused(style: Style) -> Answer {
    match style {
        Style::Rfc => invalid_client(),
        Style::CamelCase => {
            Answer::error(StatusCode::UNAUTHORIZED, "Unauthorized", "Invalid client credentials")
        }
    }
}

fn granted(style: Style, issued: &Issued, fault: Option<&Fault>) -> Answer {
    let usual = match style {
        Style::Rfc => json!({
            "access_token": issued.text, "token_type": "Bearer", "expires_in": issued.seconds,
        }),
        Style::CamelCase => json!({
            "accessToken": issued.text, "tokenType": "Bearer", "expiresIn": issued.seconds,
        }),
    };
    let odd = fault.and_then(|fault| fault.token_answer.as_ref());
    let answer = match odd.map(|odd| filled(odd, issued)) {
        None => Answer::json(StatusCode::OK, &usual),
        Some(Value::String(text)) => {
            Answer { content_type: "text/plain; charset=utf-8", body: text, ..Answer::empty(StatusCode::OK) }
        }
        Some(odd) => Answer::json(StatusCode::OK, &odd),
    };
    // RFC 6749, section 5.1.
    answer.with("cache-control", "no-store")
}

/// A fault's answer with what only the server knows put in.
fn filled(odd: &Value, issued: &Issued) -> Value {
    let expires = issued.token.expires;
    match odd {
        Value::String(text) => match text.as_str() {
            "$EXPIRES_IN" => json!(issued.seconds),
            "$EXPIRES_AT" => json!(expires.to_rfc3339()),
            "$EXPIRES_AT_S" => json!(expires.timestamp()),
            "$EXPIRES_AT_MS" => json!(expires.timestamp_millis()),
            text => json!(text.replace("$TOKEN", &issued.text)),
        },
        Value::Array(items) => items.iter().map(|item| filled(item, issued)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), filled(value, issued))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: Option<&str>, body: &str) -> Result<(String, String), u16> {
        client_credentials(authorization, body.as_bytes())
            .map(|given| (given.id, given.secret))
            .map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn basic_credentials_are_form_encoded_first() {
        let header = format!("Basic {}", STANDARD.encode("a%3Ab:s+%2B%25"));
        assert_eq!(read(Some(&header), "grant_type=client_credentials"), Ok(("a:b".into(), "s +%".into())));
    }

    #[test]
    fn posted_credentials() {
        assert_eq!(
            read(None, "grant_type=client_credentials&client_id=a&client_secret=%26"),
            Ok(("a".into(), "&".into()))
        );
    }

    #[test]
    fn what_the_rfc_refuses() {
        let header = format!("Basic {}", STANDARD.encode("a:b"));
        let grant = "grant_type=client_credentials";
        let both = format!("{grant}&client_id=a&client_secret=b");
        assert_eq!(read(Some(&header), &both), Err(400));
        assert_eq!(read(Some(&header), "grant_type=password"), Err(400));
        assert_eq!(read(Some(&header), ""), Err(400));
        assert_eq!(read(None, grant), Err(401));
        assert_eq!(read(Some("Bearer a"), grant), Err(401));
        assert_eq!(read(Some("Basic !"), grant), Err(401));
    }
}
