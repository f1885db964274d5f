//! Any HTTP endpoint that answers with a token.

use std::collections::BTreeMap;
use std::time::Duration;

use super::values::{Values, form, parse_url, unusable};
use crate::api::{HttpMethod, HttpTokenSource, ResponseFormat};
use crate::engine::ports::Refusal;
use crate::http::{Content, HeaderName, Method, Request};

/// The request that asks the endpoint for a token.
pub(super) async fn request(
    source: &HttpTokenSource,
    mut values: Values<'_>,
    timeout: Duration,
) -> Result<Request, Refusal> {
    let mut url = parse_url(&source.url, "http.url")?;
    let mut headers = Vec::with_capacity(source.headers.len());
    for (name, value) in values.named(&source.headers, "http.headers").await? {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| unusable(format!("http.headers[{name}] is no header name")))?;
        headers.push((name, value));
    }
    let format = source.response.as_ref().and_then(|response| response.format);
    if format == Some(ResponseFormat::Text) && !headers.iter().any(|(name, _)| name == "accept") {
        // The client asks for JSON unless told otherwise.
        headers.push((HeaderName::from_static("accept"), "*/*".into()));
    }
    let query = values.named(&source.query, "http.query").await?;
    if !query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in &query {
            pairs.append_pair(name, value.expose());
        }
    }
    Ok(Request {
        method: method(source.method.unwrap_or(HttpMethod::Post)),
        url,
        headers,
        body: body(source, &mut values).await?,
        bounds: values.bounds(),
        timeout,
    })
}

/// Content type and content; at most one of the three ways to give them.
async fn body(
    source: &HttpTokenSource,
    values: &mut Values<'_>,
) -> Result<Option<(String, Content)>, Refusal> {
    match (!source.form.is_empty(), !source.json.is_empty(), &source.body) {
        (false, false, None) => Ok(None),
        (true, false, None) => {
            let fields = values.named(&source.form, "http.form").await?;
            let content = form(fields.iter().map(|(name, value)| (*name, value)));
            Ok(Some(("application/x-www-form-urlencoded".to_owned(), content.into())))
        }
        (false, true, None) => {
            let members = values.named(&source.json, "http.json").await?;
            let object: BTreeMap<&str, &str> =
                members.iter().map(|(name, value)| (*name, value.expose())).collect();
            let content = serde_json::to_string(&object)
                .map_err(|_| unusable("http.json cannot be written as JSON"))?;
            Ok(Some(("application/json".to_owned(), content.into())))
        }
        (false, false, Some(body)) => {
            let content = values.sourced(body.value.as_ref(), body.value_from.as_ref(), "http.body").await?;
            Ok(Some((body.content_type.clone(), content.into())))
        }
        _ => Err(unusable("http: set at most one of form, json and body")),
    }
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}
