//! OAuth 2.0 client credentials (RFC 6749 4.4).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::values::{Values, form, parse_url, unusable};
use crate::api::{ClientAuthentication, OAuth2TokenSource};
use crate::engine::ports::Refusal;
use crate::http::{HeaderName, Method, Request};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// The request that asks the token endpoint for a token.
pub(super) async fn request(
    source: &OAuth2TokenSource,
    mut values: Values<'_>,
    timeout: Duration,
) -> Result<Request, Refusal> {
    let url = parse_url(&source.token_url, "oauth2.tokenUrl")?;
    let client_id = values
        .sourced(source.client_id.value.as_ref(), source.client_id.value_from.as_ref(), "oauth2.clientId")
        .await?;
    let client_secret = values.secret(&source.client_secret).await?;
    let request = compose(source, url, client_id, client_secret, timeout)?;
    Ok(Request { bounds: values.bounds(), ..request })
}

/// Puts the request together, but for its bounds.
fn compose(
    source: &OAuth2TokenSource,
    url: Url,
    client_id: SecretText,
    client_secret: SecretText,
    timeout: Duration,
) -> Result<Request, Refusal> {
    let mut headers = Vec::new();
    let mut fields: Vec<(&str, SecretText)> = vec![("grant_type", "client_credentials".into())];
    if !source.scopes.is_empty() {
        fields.push(("scope", source.scopes.join(" ").into()));
    }
    if let Some(audience) = &source.audience {
        fields.push(("audience", audience.as_str().into()));
    }
    match source.client_authentication.unwrap_or_default() {
        ClientAuthentication::Basic => {
            headers.push((HeaderName::from_static("authorization"), basic(&client_id, &client_secret)))
        }
        ClientAuthentication::Post => {
            fields.push(("client_id", client_id));
            fields.push(("client_secret", client_secret));
        }
    }
    for (name, value) in &source.extra_parameters {
        // Found by validation; here for objects that were stored before it knew this rule.
        if let Some(problem) = source.why_not_extra(name) {
            return Err(unusable(format!("oauth2.extraParameters.{name}: {problem}")));
        }
        fields.push((name, value.as_str().into()));
    }
    let content = form(fields.iter().map(|(name, value)| (*name, value)));
    Ok(Request {
        method: Method::POST,
        url,
        headers,
        body: Some(("application/x-www-form-urlencoded".to_owned(), content.into())),
        bounds: Bounds::default(),
        timeout,
    })
}

/// Basic authentication with identifier and secret form-encoded first (RFC 6749 2.3.1), so that a
/// colon in either does not move the border between them.
fn basic(client_id: &SecretText, client_secret: &SecretText) -> SecretText {
    let encode = |text: &SecretText| -> SecretText {
        let mut encoded = String::with_capacity(3 * text.len());
        encoded.extend(url::form_urlencoded::byte_serialize(text.expose().as_bytes()));
        encoded.into()
    };
    let (client_id, client_secret) = (encode(client_id), encode(client_secret));
    let pair = SecretText::new(format!("{}:{}", client_id.expose(), client_secret.expose()));
    let encoded = SecretText::new(STANDARD.encode(pair.expose()));
    SecretText::new(format!("Basic {}", encoded.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Content;

    fn composed(source: &OAuth2TokenSource, id: &str, secret: &str) -> Result<Request, Refusal> {
        let url = "https://auth.example.com/token".parse().unwrap();
        compose(source, url, id.into(), secret.into(), Duration::from_secs(10))
    }

    fn body(request: &Request) -> &str {
        let (content_type, content) = request.body.as_ref().unwrap();
        assert_eq!(content_type, "application/x-www-form-urlencoded");
        match content {
            Content::Text(text) => text.expose(),
            Content::Bytes(_) => panic!("text that was made here"),
        }
    }

    #[test]
    fn basic_is_form_encoded_first() {
        // The example of RFC 6749 2.3.1.
        assert_eq!(
            basic(&"s6BhdRkqt3".into(), &"gX1fBat3bV".into()).expose(),
            "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW"
        );
        let encoded = basic(&"a:b c".into(), &"p%ä+".into());
        let encoded = encoded.expose().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), b"a%3Ab+c:p%25%C3%A4%2B");
    }

    #[test]
    fn the_least_request() {
        let request = composed(&OAuth2TokenSource::default(), "id", "secret").unwrap();
        assert_eq!(body(&request), "grant_type=client_credentials");
        let [(name, value)] = &request.headers[..] else {
            panic!("{:?}", request.headers);
        };
        assert_eq!(name, "authorization");
        assert_eq!(value.expose(), "Basic aWQ6c2VjcmV0");
        assert_eq!(request.method, Method::POST);
    }

    #[test]
    fn everything_that_can_be_asked_for() {
        let source = OAuth2TokenSource {
            scopes: vec!["a".to_owned(), "b:c".to_owned()],
            audience: Some("https://api.example.com/".to_owned()),
            client_authentication: Some(ClientAuthentication::Post),
            extra_parameters: [("resource".to_owned(), "x&y=z".to_owned())].into(),
            ..OAuth2TokenSource::default()
        };
        let request = composed(&source, "id", "a&b").unwrap();
        assert_eq!(
            body(&request),
            "grant_type=client_credentials&scope=a+b%3Ac&audience=https%3A%2F%2Fapi.example.com%2F\
             &client_id=id&client_secret=a%26b&resource=x%26y%3Dz"
        );
        assert!(request.headers.is_empty());
    }

    #[test]
    fn no_parameter_is_sent_twice() {
        for name in ["grant_type", "scope", "audience", "client_id", "client_secret"] {
            let source = OAuth2TokenSource {
                scopes: vec!["a".to_owned()],
                audience: Some("b".to_owned()),
                client_authentication: Some(ClientAuthentication::Post),
                extra_parameters: [(name.to_owned(), "password".to_owned())].into(),
                ..OAuth2TokenSource::default()
            };
            let refused = composed(&source, "id", "secret").unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
        let source = OAuth2TokenSource {
            extra_parameters: ["scope", "audience", "client_id"]
                .map(|name| (name.to_owned(), "x".to_owned()))
                .into(),
            ..OAuth2TokenSource::default()
        };
        let request = composed(&source, "id", "secret").unwrap();
        assert_eq!(body(&request), "grant_type=client_credentials&audience=x&client_id=x&scope=x");
    }
}
