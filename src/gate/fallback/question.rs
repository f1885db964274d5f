//! The request that asks a platform for one id.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::Means;
use crate::api::{FallbackRequest, HttpMethod, NamedValue};
use crate::gate::receiver::{Fallback, Receiver};
use crate::http::{HeaderName, Method, Request, prefixed};
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// Stands for the id.
const ID: &str = "{id}";
/// How long a question may take where the object does not say.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Everything but the unreserved characters (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Makes the request.
///
/// # Errors
/// Why none can be made at this moment, in words for people.
pub(super) async fn compose(
    means: &dyn Means,
    receiver: &Receiver,
    fallback: &Fallback,
    id: &str,
) -> Result<Request, String> {
    let given = &fallback.request;
    let namespace = &receiver.owner.namespace;
    let mut bounds = Bounds::default();
    let mut headers = Vec::with_capacity(given.headers.len() + 1);
    for header in &given.headers {
        headers.push(value_of(means, namespace, header, &mut bounds).await?);
    }
    if let Some(source) = &given.token_source_ref {
        let mut of_token = Bounds::default();
        let token = means.token(namespace, &source.name, &mut of_token).await?;
        // A token goes where its source says, and one that says nothing goes nowhere from here.
        if of_token.is_empty() {
            return Err(format!(
                "spec.fallback.request.tokenSourceRef: TokenSource {} does not say where its tokens may go; add \
                 the host to its spec.allowedHosts",
                source.name
            ));
        }
        bounds = bounds.and(of_token);
        headers.retain(|(name, _)| name.as_str() != "authorization");
        headers.push((HeaderName::from_static("authorization"), prefixed("Bearer ", &token)));
    }
    let content_type = |body| ("application/json".to_owned(), body);
    Ok(Request {
        method: method(given),
        url: url(&given.url, id)?,
        headers,
        body: given.body.as_deref().map(|body| content_type(filled_in(body, id).into())),
        bounds,
        timeout: given.timeout.as_ref().map_or(TIMEOUT, crate::api::Duration::to_std),
    })
}

/// What its questions count against: scheme, host and port.
pub(super) fn origin(given: &FallbackRequest) -> String {
    url(&given.url, "x").map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

fn method(given: &FallbackRequest) -> Method {
    match given.method.unwrap_or(HttpMethod::Get) {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}

async fn value_of(
    means: &dyn Means,
    namespace: &str,
    header: &NamedValue,
    bounds: &mut Bounds,
) -> Result<(HeaderName, SecretText), String> {
    let at = |problem: &str| format!("spec.fallback.request.headers[{}]: {problem}", header.name);
    let name = HeaderName::try_from(&header.name).map_err(|_| at("this is no name of a header"))?;
    let value = match (&header.value, &header.value_from) {
        (Some(value), None) => value.as_str().into(),
        (None, Some(from)) => {
            let secret = means.secret(namespace, &from.secret_key_ref, bounds).await;
            let secret = secret.map_err(|problem| at(&problem))?.without_line_end();
            prefixed(from.prefix.as_deref().unwrap_or_default(), &secret)
        }
        _ => return Err(at("give exactly one of value and valueFrom")),
    };
    Ok((name, value))
}

/// The URL with the id in its place.
fn url(template: &str, id: &str) -> Result<Url, String> {
    let fill = |id: &str| template.replace(ID, &utf8_percent_encode(id, ENCODED).to_string());
    let parse = |text: &str| Url::parse(text).map_err(|_| "spec.fallback.request.url is no URL".to_owned());
    let url = parse(&fill(id))?;
    // An id of dots would lead to another place of the path.
    let segments = |url: &Url| url.path_segments().map_or(0, Iterator::count);
    let is_same_place = ![".", ".."].contains(&id) && segments(&url) == segments(&parse(&fill("x"))?);
    is_same_place.then_some(url).ok_or_else(|| "the id leads to another place of the URL".to_owned())
}

/// The body with the id in its place, escaped as inside of a JSON text.
fn filled_in(template: &str, id: &str) -> String {
    let text = serde_json::Value::from(id).to_string();
    let escaped = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
    template.replace(ID, escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stands_in_the_url_and_nowhere_else() {
        for (template, id, expected) in [
            ("https://api.example/processes/v1/{id}", "a-1", "https://api.example/processes/v1/a-1"),
            ("https://api.example/a?x={id}&y=1", "a~b", "https://api.example/a?x=a~b&y=1"),
            ("https://api.example/{id}/of/{id}", "7", "https://api.example/7/of/7"),
            ("https://api.example/p/{id}", "a/../b?c#d", "https://api.example/p/a%2F..%2Fb%3Fc%23d"),
            ("https://api.example/fixed", "7", "https://api.example/fixed"),
        ] {
            assert_eq!(url(template, id).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn an_id_of_dots_leads_nowhere() {
        for id in [".", ".."] {
            assert!(url("https://api.example/processes/{id}", id).is_err(), "{id}");
            assert!(url("https://api.example/processes/{id}/x", id).is_err(), "{id}");
        }
        assert!(url("https://api.example/a/.{id}", ".").is_err());
        assert!(url("https://api.example/a/{id}{id}", "a.").is_ok());
        assert!(url("https://api.example/a/{id}", "...").is_ok());
    }

    #[test]
    fn the_id_is_escaped_in_a_body() {
        assert_eq!(filled_in(r#"{"q": {"id": "{id}"}}"#, "a"), r#"{"q": {"id": "a"}}"#);
        assert_eq!(filled_in(r#"{"id":"{id}"}"#, "a\"\n\\"), r#"{"id":"a\"\n\\"}"#);
    }

    #[test]
    fn an_origin_is_one_however_its_url_goes_on() {
        let of = |url: &str| origin(&FallbackRequest { url: url.to_owned(), ..FallbackRequest::default() });
        assert_eq!(of("https://API.example/{id}"), of("https://api.example:443/x?y={id}"));
        assert_ne!(of("https://api.example/{id}"), of("https://api.example:8443/{id}"));
    }
}
